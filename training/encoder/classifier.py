"""Training VGG-19 on class records."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from model.atomic import atomic_file
from model.bundle import CLASSES, write_classes
from model.config import EncoderConfig
from model.errors import ConfigError
from training.config import ClassifierTrainingConfig
from training.data.damage import damaged_records
from training.data.feed import Feed
from training.data.pipeline import Share, class_batches, labelled_batches
from training.data.records import INDEX, has_split, read_index, read_record_classes, shard_paths
from training.data.shards import count_records
from training.encoder.imagenet import load_imagenet
from training.encoder.norm import trainable_encoder
from training.loop.replicas import Replicas
from training.loop.step import Sums, evaluator
from training.loop.summaries import captioned_picture
from training.loop.task import Specification, Task
from training.loss import smoothed_cross_entropy
from training.provenance import key_of

CONFIG = "config.json"
EVALUATION_BATCH = 64
SHOWN = 4
"""Dev images that TensorBoard shows with their labels."""


class ClassifierTask(Task):
    """The task of training an encoder on classes.

    Args:
        records: Finished class records with splits train and dev.
        encoder_config: Architecture; the number of classes comes from the records.
        config: Options of the training.
        replicas: The devices that compute.
        imagenet: The official VGG-19 file to start from, or None for fresh weights.

    Raises:
        DataError: The records are incomplete or hold captions.
    """

    def __init__(
        self, records: Path, encoder_config: EncoderConfig, config: ClassifierTrainingConfig, replicas: Replicas,
        imagenet: Path | None = None,
    ) -> None:  # fmt: skip
        self.config = config
        self.classes = read_record_classes(records)
        self.encoder_config = replace(encoder_config, classes=len(self.classes))
        keras.utils.set_random_seed(config.seed)
        with replicas.strategy.scope():
            self.encoder = trainable_encoder(self.encoder_config, synchronized=replicas.count > 1)
            if imagenet is not None:
                load_imagenet(imagenet, self.encoder)
        self._evaluate = evaluator(replicas, lambda batch, _step: self._sums(batch, 0.0, training=False))
        images = count_records(read_index(records), "train")
        replicas.check_pipeline(config.pipeline, images)
        if replicas.config.xla and replicas.count > 1 and self.encoder_config.batch_norm:
            raise ConfigError(
                "xla: expected one replica, or an encoder without batch norm, which XLA cannot compile over several"
            )
        settings = {
            "encoder": asdict(self.encoder_config),
            "training": asdict(config),
            "records": key_of(records / INDEX, records / CLASSES),
        }
        super().__init__(
            Specification(
                replicas=replicas,
                records=records,
                networks={"encoder": self.encoder},
                optimizer=config.optimizer,
                steps_per_epoch=images // config.pipeline.batch_size,
                epochs=config.epochs,
                settings=settings,
                best_figure="top1" if has_split(records, "dev") else None,
            )
        )

    def loss(self, batch: Any, step: tf.Tensor) -> Sums:  # noqa: ARG002 - part of the protocol
        """Sums the cross-entropy, smoothed, and the correct first guesses."""
        return self._sums(batch, self.config.label_smoothing, training=True)

    def _sums(self, batch: Any, smoothing: float, *, training: bool) -> Sums:
        images, labels = batch
        logits = self.encoder(images, training=training)["logits"]  # (B, C)
        losses = smoothed_cross_entropy(logits, labels, smoothing)
        figures = {f"top{k}": 100 * _count(tf.math.in_top_k(labels, logits, k)) for k in (1, 5)}
        return Sums(tf.reduce_sum(losses), tf.cast(tf.size(labels), tf.float32), figures)

    def epoch_batches(self, epoch: int, first_step: int, share: Share) -> tf.data.Dataset:
        """Reads an epoch's shuffled, augmented records."""
        return class_batches(
            shard_paths(self.spec.records, "train"), self.config.pipeline, epoch, first_step, share=share
        )

    def evaluate(self) -> dict[str, float]:
        """Returns the mean cross-entropy and top-1 and top-5 accuracy in percent on dev."""
        paths = shard_paths(self.spec.records, "dev")
        batches = self.spec.replicas.distribute(lambda share: labelled_batches(paths, EVALUATION_BATCH, share=share))
        try:
            return self._evaluate(batches)
        except tf.errors.OpError as error:
            raise damaged_records(self.spec.records, "dev", error) from error

    def rehearse(self) -> None:
        """Scores a batch of dev."""
        paths = shard_paths(self.spec.records, "dev")
        batches = self.spec.replicas.distribute(
            lambda share: labelled_batches(paths, EVALUATION_BATCH, share=share).take(self.spec.replicas.local)
        )
        self._evaluate(batches)

    def describe(self, directory: Path) -> None:
        """Writes the architecture and the classes."""
        with atomic_file(directory / CLASSES) as file:
            write_classes(file, self.classes)
        with atomic_file(directory / CONFIG) as file:
            file.write_text(json.dumps(self.spec.settings, indent=2) + "\n")

    def pictures(self) -> Iterator[tuple[str, Any]]:
        """Yields the first images of dev over their label and, in brackets, the class that was guessed."""
        with Feed(labelled_batches(shard_paths(self.spec.records, "dev"), SHOWN)) as batches:
            images, labels = next(batches)
        guesses = tf.argmax(self.encoder(images, training=False)["logits"], axis=-1)
        for number, (image, label, guess) in enumerate(
            zip(images.numpy(), labels.numpy(), guesses.numpy(), strict=True)
        ):
            text = f"{self.classes[label].label} ({self.classes[guess].label})"
            yield f"dev/{number}", captioned_picture(image, text)


def _count(hits: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(hits, tf.float32))
