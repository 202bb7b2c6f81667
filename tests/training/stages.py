"""The stages before those that begin with a trained encoder and decoder, at a size that takes seconds."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.bundle import ClassName
from model.config import EncoderConfig
from model.presets import small
from model.vocabulary import Vocabulary
from training.config import CaptionerTrainingConfig, ClassifierTrainingConfig, DeviceConfig, PipelineConfig, RunConfig
from training.data.captioned import CaptionedImage
from training.data.forms.collect import read_captions
from training.data.labelled import LabelledImage
from training.data.records import write_class_records, write_records
from training.decoder.tasks import DecoderTask
from training.encoder.classifier import ClassifierTask
from training.encoder.lite2 import tensor_shapes
from training.loop.replicas import Replicas
from training.loop.run import train_task

CLASSES = tuple(ClassName(f"n{index}", name) for index, name in enumerate(("red", "green", "blue", "yellow")))
RUN = RunConfig(summary_steps=1, histogram_steps=0)

SIZES = [(2, 8), (4, 8), (4, 5), (4, 7), (2, 3), (4, 3), (4, 1)]
"""Replicas and records of a global batch: even, uneven, and so few that a replica gets nothing."""


class Stages(NamedTuple):
    """The directories of the stages."""

    records: Path
    encoder: Path
    captioner: Path


def read_folder(folder: Path, *, dev_fraction: float = 0.1) -> list[CaptionedImage]:
    """Reads photos with a text file beside each."""
    return read_captions(folder, "folder", dev_fraction=dev_fraction).images


def one_device() -> Replicas:
    return Replicas(tf.distribute.get_strategy(), 1, 1)


def replicas_of(count: int, **config: Any) -> Replicas:
    options = DeviceConfig(**config)
    if count == 1:
        return Replicas(tf.distribute.get_strategy(), count=1, local=1, config=options)
    names = [f"CPU:{index}" for index in range(count)]
    mirrored = tf.distribute.MirroredStrategy(names, cross_device_ops=tf.distribute.ReductionToOneDevice())
    return Replicas(mirrored, count=count, local=count, config=options)


def train_stages(
    root: Path, drawn: Path, encoder: EncoderConfig, encoder_epochs: int, training: CaptionerTrainingConfig
) -> Stages:
    """Writes records of drawn photos, and trains an encoder on their colours and a decoder on its features."""
    made = Stages(root / "records", root / "encoder", root / "captioner")
    images = read_folder(drawn, dev_fraction=0.3)
    vocabulary = Vocabulary.build([text for image in images for text in image.captions], min_count=1)
    write_records(made.records, images, vocabulary)
    ordered = sorted(images, key=lambda image: image.name)
    labelled = [LabelledImage(image.path, image.name, i % 4, image.split) for i, image in enumerate(ordered)]
    write_class_records(root / "classes", labelled, CLASSES)
    colours = ClassifierTrainingConfig(epochs=encoder_epochs, pipeline=PipelineConfig(batch_size=4))
    assert train_task(made.encoder, ClassifierTask(root / "classes", encoder, colours, one_device()), RUN)
    preset = small()
    preset = replace(preset, decoder=replace(preset.decoder, embedding_units=16, units=24, dropout=0.0))
    assert train_task(made.captioner, DecoderTask(made.encoder, made.records, preset, training, one_device()), RUN)
    return made


def random_lite2() -> dict[str, npt.NDArray[np.float32]]:
    """Returns tensors of an EfficientNet-Lite2 that has learned nothing."""
    random = np.random.default_rng(5)
    weights = {}
    for name, shape in tensor_shapes().items():
        fan = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        values = random.normal(0, fan**-0.5, shape) if len(shape) > 1 else random.uniform(0.5, 1.5, shape)
        weights[name] = values.astype(np.float32)
    return weights
