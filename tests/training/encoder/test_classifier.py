"""Training VGG-19, at toy size, on drawn shapes in six colours."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.bundle import ClassName, read_classes
from model.config import EncoderConfig
from model.errors import DataError
from model.vocabulary import Vocabulary
from training.commands.classifier import classifier, configurations
from training.config import ClassifierTrainingConfig, OptimizerConfig, PipelineConfig, RunConfig
from training.data.captioned import CaptionedImage
from training.data.labelled import LabelledImage
from training.data.records import write_class_records, write_records
from training.encoder.classifier import ClassifierTask
from training.encoder.sources import load_encoder
from training.loop.checkpoint import load_checkpoint, named_variables
from training.loop.directory import METRICS, SUMMARIES
from training.loop.estimate import estimate
from training.loop.replicas import Replicas
from training.loop.run import train_task

# A clock decides whether matplotlib says so, on a busy machine.
pytestmark = pytest.mark.slow

COLOURS = ("red", "lime", "blue", "yellow", "white", "black")
SHAPES = ("square", "circle")
ENCODER = EncoderConfig(
    widths=(0.06,) * 5, fc_units=32, normalization="unit", input_pooling=7, batch_norm=True, residual=True,
    pooling="average", dropout=0.1,
)  # fmt: skip
TRAINING = ClassifierTrainingConfig(
    epochs=5,
    label_smoothing=0.05,
    pipeline=PipelineConfig(batch_size=8, smallest_crop=0.8),
    optimizer=OptimizerConfig(learning_rate=0.01, weight_decay=0.01),
)
RUN = RunConfig(summary_steps=5, histogram_steps=50)


def draw(path: Path, colour: str, shape: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(90, 130, (64, 64, 3), dtype=np.uint8))
    left, top = (int(value) for value in random.integers(2, 20, 2))
    pencil = ImageDraw.Draw(image)
    (pencil.rectangle if shape == "square" else pencil.ellipse)((left, top, left + 40, top + 40), fill=colour)
    image.save(path)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns class records of 200 drawings, 40 of them dev, with the colour as their class."""
    root = tmp_path_factory.mktemp("shapes")
    images = []
    for index in range(200):
        path = root / f"{index:03}.png"
        draw(path, COLOURS[index % 6], SHAPES[index // 6 % 2], index)
        images.append(LabelledImage(path, path.name, index % 6, "dev" if index >= 160 else "train"))
    names = [ClassName(f"n{index}", colour) for index, colour in enumerate(COLOURS)]
    write_class_records(root / "records", images, names, shard_images=50)
    return root / "records"


def one_device() -> Replicas:
    return Replicas(tf.distribute.get_strategy(), 1, 1)


@pytest.fixture(scope="module")
def trained(records: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ClassifierTask]:
    """Returns the directory and the task of a finished run."""
    directory = tmp_path_factory.mktemp("trained")
    task = ClassifierTask(records, ENCODER, TRAINING, one_device())
    assert train_task(directory, task, RUN)
    return directory, task


def dev_lines(directory: Path) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, (directory / METRICS).read_text().splitlines()) if line["kind"] == "dev"]


def test_colours_are_learned(trained: tuple[Path, ClassifierTask]) -> None:
    first, *_, last = dev_lines(trained[0])
    assert last["loss"] < first["loss"]
    assert max(line["top1"] for line in dev_lines(trained[0])) > 90
    assert last["top1"] <= last["top5"] <= 100


def test_the_run_can_be_used_as_an_encoder(trained: tuple[Path, ClassifierTask], records: Path) -> None:
    directory, task = trained
    network, config, file = load_encoder(directory)
    assert config == replace(ENCODER, classes=6)
    assert read_classes(directory / "classes.json") == task.classes
    load_checkpoint(file, named_variables(task.encoder, "encoder"))
    figures = task.evaluate()
    assert figures["top1"] == pytest.approx(max(line["top1"] for line in dev_lines(directory)))
    images = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    one, two = (encoder(images, training=False)["features"] for encoder in (network, task.encoder))
    np.testing.assert_array_equal(one, two)
    assert config.classes == len(read_classes(records / "classes.json"))


def test_tensorboard_shows_dev_images_histograms_and_the_graph(trained: tuple[Path, ClassifierTask]) -> None:
    events = EventAccumulator(str(trained[0] / SUMMARIES), size_guidance={"tensors": 0})
    events.Reload()
    tags = events.Tags()["tensors"]
    shown = [tag for tag in tags if tag.startswith("dev/") and tag[4:].isdigit()]
    assert shown == ["dev/0", "dev/1", "dev/2", "dev/3"]
    width, height, png = events.Tensors("dev/0")[-1].tensor_proto.string_val
    assert (int(width), int(height)) == (224, 224 + 46)
    picture = tf.io.decode_png(png).numpy()
    assert (picture[224:] < 128).any()
    assert len(events.Tensors("dev/0")) == TRAINING.epochs
    variables = {variable.path for variable in trained[1].encoder.trainable_variables}
    for kind in ("variables", "gradients"):
        assert {tag.removeprefix(f"{kind}/") for tag in tags if tag.startswith(kind)} == variables
    assert events.Tags()["graph"]


def batch_of(task: ClassifierTask) -> Any:
    return next(iter(task.epoch_batches(0, 0, lambda batches: batches)))


def test_label_smoothing_mixes_in_the_even_distribution(records: Path) -> None:
    losses = []
    for smoothing in (0.0, 0.25, 0.999999):
        config = replace(TRAINING, label_smoothing=smoothing)
        task = ClassifierTask(records, replace(ENCODER, dropout=0.0), config, one_device())
        images, _ = batch_of(task)
        unlikely = tf.argmin(task.encoder(images, training=True)["logits"], axis=-1, output_type=tf.int32)
        sums = task.loss((images, unlikely), tf.constant(0, tf.int64))
        losses.append(float(sums.loss / sums.weight))
    plain, smoothed, even = losses
    assert smoothed == pytest.approx(0.75 * plain + 0.25 * even, rel=1e-4)
    assert plain != pytest.approx(even, rel=1e-3)


def test_top_1_and_top_5_count_the_guesses(records: Path) -> None:
    task = ClassifierTask(records, replace(ENCODER, dropout=0.0), TRAINING, one_device())
    images, _ = batch_of(task)
    order = np.argsort(-np.asarray(task.encoder(images, training=True)["logits"]), axis=-1)
    for place, expected in ((0, (100, 100)), (4, (0, 100)), (5, (0, 0))):
        labels = tf.constant(order[:, place], tf.int32)
        sums = task.loss((images, labels), tf.constant(0, tf.int64))
        assert tuple(float(sums.figures[name] / sums.weight) for name in ("top1", "top5")) == expected


def test_a_flipped_byte_in_a_dev_record_is_named(records: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "records"
    shutil.copytree(records, damaged)
    shard = next(damaged.glob("dev-*.tfrecord"))
    data = bytearray(shard.read_bytes())
    data[-200] ^= 1
    shard.write_bytes(data)
    task = ClassifierTask(damaged, ENCODER, TRAINING, one_device())
    with pytest.raises(DataError, match=rf"{shard.name}: record at byte \d+ is damaged"):
        task.evaluate()


def test_caption_records_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", "red", "circle", 1)
    image = CaptionedImage(tmp_path / "a.png", "a.png", ("a red circle",), "train")
    write_records(tmp_path / "records", [image], Vocabulary.build(image.captions, min_count=1))
    with pytest.raises(DataError, match="expected class records, found caption records"):
        ClassifierTask(tmp_path / "records", ENCODER, TRAINING, one_device())


def test_an_estimate_counts_parameters_and_leaves_the_weights(records: Path) -> None:
    task = ClassifierTask(records, ENCODER, TRAINING, one_device())
    before = [np.asarray(keras.ops.convert_to_numpy(v)) for v in task.encoder.trainable_variables]
    text = estimate(task)
    assert f"encoder: {sum(value.size for value in before):,} parameters" in text
    assert "memory of the process: about " in text
    assert "20 steps an epoch, " in text
    for value, variable in zip(before, task.encoder.trainable_variables, strict=True):
        np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(variable))


@pytest.fixture
def settings(records: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Returns a function from options of the command to the settings that a run of it would have."""

    def run(*options: str) -> dict[str, Any]:
        words = ["--records", str(records), "--out", str(tmp_path / "run"), *options]
        # Devices cannot be set up anew in a process that has used TensorFlow.
        encoder, config = configurations(classifier.make_context("classifier", words).params)
        return dict(ClassifierTask(records, encoder, config, one_device()).spec.settings)

    return run


def test_options_reach_the_configuration_and_the_rest_is_the_preset_s(settings: Callable[..., dict[str, Any]]) -> None:
    given = ["--widths", *["0.05"] * 4, "0.1", "--input-pooling", "7", "--dropout", "0.25", "--label-smoothing", "0.3"]
    given += ["--optimizer", "sgd", "--momentum", "0.5", "--batch-size", "7", "--no-flip", "--seed", "9"]
    found = settings(*given)
    encoder = found["encoder"]
    training = found["training"]
    assert (encoder["widths"], encoder["input_pooling"], encoder["dropout"]) == ((*[0.05] * 4, 0.1), 7, 0.25)
    assert (training["label_smoothing"], training["seed"]) == (0.3, 9)
    assert (training["optimizer"]["name"], training["optimizer"]["momentum"]) == ("sgd", 0.5)
    assert (training["pipeline"]["batch_size"], training["pipeline"]["flip"]) == (7, False)
    default = ClassifierTrainingConfig()
    assert training["optimizer"]["learning_rate"] == default.optimizer.learning_rate
    assert training["pipeline"]["smallest_crop"] == default.pipeline.smallest_crop
    assert (encoder["classes"], encoder["batch_norm"]) == (6, True)


def test_the_paper_preset_is_the_paper_s_network_and_training(settings: Callable[..., dict[str, Any]]) -> None:
    found = settings("--preset", "paper", "--widths", *["0.01"] * 5)
    encoder = found["encoder"]
    training = found["training"]
    assert (encoder["normalization"], encoder["batch_norm"], encoder["pooling"]) == ("caffe", False, "flatten")
    assert (encoder["fc_units"], encoder["dropout"]) == (4096, 0.5)
    assert (training["optimizer"]["name"], training["optimizer"]["schedule"]) == ("sgd", "exponential")
    assert (training["optimizer"]["decay_steps"], training["optimizer"]["decay_rate"]) == (100_000, 0.998)
    assert (training["pipeline"]["batch_size"], training["pipeline"]["threads"]) == (5, 2)
