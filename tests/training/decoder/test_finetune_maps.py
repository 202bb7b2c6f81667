"""Fine-tuning the last block and the decoder from maps of drawn photos."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.config import EncoderConfig
from model.errors import DataError
from tests.training.stages import CLASSES, RUN, Stages, one_device, train_stages
from training.config import CaptionerTrainingConfig, FinetuneConfig, OptimizerConfig, PipelineConfig
from training.data.photo_cache import PhotoCache, fill, photo_key
from training.decoder.finetune import FinetuneTask
from training.decoder.finetune_maps import MapsFinetuneTask
from training.encoder.maps import MAPS, cache_maps, open_maps
from training.encoder.sources import load_encoder
from training.loop.run import train_task
from training.shipping.export import assemble

pytestmark = pytest.mark.slow

ENCODER = EncoderConfig(
    widths=(0.05,) * 5, fc_units=12, normalization="unit", input_pooling=7, pooling="average", dropout=0.0,
    features="average",
)  # fmt: skip
ALONE = CaptionerTrainingConfig(epochs=2, batch_size=16, optimizer=OptimizerConfig(learning_rate=0.01))
TOGETHER = FinetuneConfig(
    captions=CaptionerTrainingConfig(epochs=2, optimizer=OptimizerConfig(learning_rate=0.005, weight_decay=0.1)),
    pipeline=PipelineConfig(batch_size=4),
    encoder_learning_rate=1e-3,
)


@pytest.fixture(scope="module")
def runs(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    return train_stages(tmp_path_factory.mktemp("runs"), drawn, ENCODER, 1, ALONE)


@pytest.fixture(scope="module")
def maps(runs: Stages, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maps")
    cache_maps(path, load_encoder(runs.encoder).network, sorted(drawn.glob("*.jpg")))
    return path


@pytest.fixture(scope="module")
def answers(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns what a teacher says that knows nothing but the colour of a photo's middle."""
    path = tmp_path_factory.mktemp("answers")

    def answer(images: Any) -> dict[str, Any]:
        middle = images[:, 60:160, 60:160].mean(axis=(1, 2)) / 64
        return {"features": np.tile(middle, (1, 4)), "logits": np.pad(middle, [(0, 0), (0, 1)])}

    fill(path, "teacher", {"features": (12,), "logits": (4,)}, answer, sorted(drawn.glob("*.jpg")), ["whole"])
    return path


def made(runs: Stages, maps: Path, **options: Any) -> MapsFinetuneTask:
    return MapsFinetuneTask(runs.encoder, runs.captioner, runs.records, maps, TOGETHER, one_device(), **options)


def changed(run: Path, before: Path) -> set[str]:
    """Returns the layers whose weights differ between two runs' encoders."""
    pairs = zip(load_encoder(run).network.layers, load_encoder(before).network.layers, strict=True)
    return {
        one.name
        for one, two in pairs
        if not all(np.array_equal(*v) for v in zip(one.weights, two.weights, strict=True))
    }


BLOCK = {f"block5_conv{index}" for index in range(1, 5)}


@pytest.mark.parametrize("taught", [False, True])
def test_the_last_block_learns_and_the_classes_along_with_a_teacher_alone(
    runs: Stages, maps: Path, answers: Path, tmp_path: Path, taught: bool
) -> None:
    task = made(runs, maps, answers=answers if taught else None)
    assert train_task(tmp_path / "run", task, RUN)
    expected = BLOCK | ({"fc1", "fc2", "predictions"} if taught else set())
    assert changed(tmp_path / "run", runs.encoder) == expected
    bundle = assemble(tmp_path / "run", tmp_path / "run", runs.records, CLASSES)
    assert bundle.config.encoder.features == "average"
    assert open_maps(maps, load_encoder(tmp_path / "run").network).shapes == PhotoCache(maps).shapes


def test_it_learns_in_bfloat16(runs: Stages, maps: Path, answers: Path, tmp_path: Path) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        task = made(runs, maps, answers=answers)
        assert {variable.dtype for variable in task.encoder.trainable_variables} == {"float32"}
        assert train_task(tmp_path / "run", task, RUN)
    finally:
        keras.config.set_dtype_policy("float32")
    assert changed(tmp_path / "run", runs.encoder) == BLOCK | {"fc1", "fc2", "predictions"}


def test_the_loss_is_that_of_training_on_the_photos_themselves(runs: Stages, maps: Path) -> None:
    config = replace(TOGETHER, pipeline=replace(TOGETHER.pipeline, flip=False))
    direct = FinetuneTask(runs.encoder, runs.captioner, runs.records, config, one_device())
    task = made(runs, maps)
    for decoder in (direct.decoder, task.decoder):
        decoder.dropout.rate = 0.0
    direct_sums = [direct.loss(batch, tf.constant(0, tf.int64)) for batch in direct.epoch_batches(0, 0, lambda b: b)]
    ours = [task.loss(batch, tf.constant(0, tf.int64)) for batch in task.epoch_batches(0, 0, lambda b: b)]
    means = [sum(float(s.loss) for s in sums) / sum(float(s.weight) for s in sums) for sums in (direct_sums, ours)]
    assert means[0] == pytest.approx(means[1], rel=0.1)  # other photos fill no batch, and some are mirrored


def test_the_epochs_order_is_its_own_and_both_views_are_drawn(runs: Stages, maps: Path, drawn: Path) -> None:
    task = made(runs, maps)
    first, again, other = (
        [batch[0].numpy() for batch in task.epoch_batches(epoch, 0, lambda b: b)] for epoch in (0, 0, 1)
    )
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))
    assert not np.array_equal(np.concatenate(first), np.concatenate(other))
    later = [batch[0].numpy() for batch in task.epoch_batches(0, 2, lambda b: b)]
    np.testing.assert_array_equal(np.concatenate(first[2:]), np.concatenate(later))
    cache = PhotoCache(maps)
    seen = {
        view
        for key in (photo_key(path.read_bytes()) for path in drawn.glob("*.jpg"))
        for view in ("whole", "mirrored")
        for m in np.concatenate(first)
        if np.array_equal(m, cache.read(MAPS, key, view).astype(np.float32))
    }
    assert seen == {"whole", "mirrored"}


def test_what_is_missing_is_told(runs: Stages, maps: Path, drawn: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    fill(
        few,
        "teacher",
        {"features": (12,), "logits": (4,)},
        lambda images: {"features": np.zeros((len(images), 12)), "logits": np.zeros((len(images), 4))},
        sorted(drawn.glob("*.jpg"))[:2],
        ["whole"],
    )
    with pytest.raises(DataError, match="expected features of every photo"):
        made(runs, maps, answers=few)
    config = replace(TOGETHER, pipeline=replace(TOGETHER.pipeline, batch_size=100))
    with pytest.raises(DataError, match="at least 100 photos for a batch"):
        MapsFinetuneTask(runs.encoder, runs.captioner, runs.records, maps, config, one_device())
