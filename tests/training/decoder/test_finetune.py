"""Fine-tuning encoder and decoder together on drawn photos, after a stage with the encoder frozen."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from model.bundle import save_bundle
from model.captioner import Captioner
from model.config import CaptionerConfig, EncoderConfig, SearchConfig
from model.engines.tensorflow import TensorFlowEngine
from model.errors import DataError
from model.image import read_image
from model.search import beam_search
from model.vocabulary import END_ID
from tests.training.stages import CLASSES, RUN, Stages, one_device, train_stages
from training.config import (
    CaptionerTrainingConfig,
    FinetuneConfig,
    OptimizerConfig,
    PipelineConfig,
)
from training.decoder.earlier import load_decoder
from training.decoder.finetune import FinetuneTask
from training.encoder.sources import load_encoder
from training.loop.directory import CHECKPOINTS, METRICS
from training.loop.run import train_task
from training.shipping.export import assemble

# A clock decides whether matplotlib says so, on a busy machine.
pytestmark = pytest.mark.slow

ENCODER = EncoderConfig(
    widths=(0.05,) * 5, fc_units=24, normalization="unit", input_pooling=7, batch_norm=True, residual=True,
    pooling="average", dropout=0.0,
)  # fmt: skip
FROZEN = CaptionerTrainingConfig(epochs=3, batch_size=16, optimizer=OptimizerConfig(learning_rate=0.01))
TOGETHER = FinetuneConfig(
    captions=CaptionerTrainingConfig(epochs=2, optimizer=OptimizerConfig(learning_rate=0.005, weight_decay=0.0)),
    pipeline=PipelineConfig(batch_size=4, flip=False),
    encoder_learning_rate=1e-3,
)


@pytest.fixture(scope="module")
def runs(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """Returns caption records, an encoder that has hardly learned colours, and a decoder trained on it."""
    return train_stages(tmp_path_factory.mktemp("runs"), drawn, ENCODER, 1, FROZEN)


@pytest.fixture(scope="module")
def finetuned(runs: Stages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the directory of a finished fine-tuning."""
    directory = tmp_path_factory.mktemp("finetuned")
    task = FinetuneTask(runs.encoder, runs.captioner, runs.records, TOGETHER, one_device())
    assert train_task(directory, task, RUN)
    return directory


def dev_losses(directory: Path) -> list[float]:
    found = map(json.loads, (directory / METRICS).read_text().splitlines())
    return [line["loss"] for line in found if line["kind"] == "dev"]


def values(network: keras.Model) -> dict[str, np.ndarray]:
    return {v.path: np.asarray(keras.ops.convert_to_numpy(v)) for v in network.variables}


def change(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> float:
    """Returns the mean change of a kernel's numbers."""
    kernels = [name for name in before if name.endswith("kernel")]
    return float(np.mean([np.abs(after[name] - before[name]).mean() for name in kernels]))


def test_fine_tuning_lowers_the_loss_of_the_frozen_stage(runs: Stages, finetuned: Path) -> None:
    assert min(dev_losses(finetuned)) < min(dev_losses(runs.captioner))


def test_fine_tuning_begins_with_what_the_frozen_stage_learned(runs: Stages) -> None:
    task = FinetuneTask(runs.encoder, runs.captioner, runs.records, TOGETHER, one_device())
    assert task.evaluate()["loss"] in [pytest.approx(loss, rel=1e-3) for loss in dev_losses(runs.captioner)]


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_the_encoder_learns_at_a_rate_of_its_own(runs: Stages, tmp_path: Path, name: str) -> None:
    optimizer = OptimizerConfig(name=name, learning_rate=0.01, weight_decay=0.0, schedule="constant")  # type: ignore[arg-type]
    config = replace(
        TOGETHER,
        captions=replace(TOGETHER.captions, epochs=1, optimizer=optimizer),
        encoder_learning_rate=1e-9,
    )
    task = FinetuneTask(runs.encoder, runs.captioner, runs.records, config, one_device())
    before = {part: values(network) for part, network in task.spec.networks.items()}
    assert train_task(tmp_path, task, RUN)
    after = {part: values(network) for part, network in task.spec.networks.items()}
    assert 0 <= change(before["encoder"], after["encoder"]) < 1e-6
    assert change(before["decoder"], after["decoder"]) > 1e-5


def test_both_networks_learn_and_batch_norm_keeps_its_statistics(runs: Stages, finetuned: Path) -> None:
    before = values(load_encoder(runs.encoder).network)
    after = values(load_encoder(finetuned).network)
    assert change(before, after) > 1e-4
    statistics = [name for name in before if "moving_" in name]
    assert statistics
    for name in statistics:
        np.testing.assert_array_equal(before[name], after[name])


def test_the_bundle_of_a_fine_tuned_run_says_what_its_networks_say(
    runs: Stages, finetuned: Path, drawn: Path, tmp_path: Path
) -> None:
    search = SearchConfig(beam_size=1, max_words=8)
    bundle = assemble(finetuned, finetuned, runs.records, CLASSES)
    save_bundle(tmp_path / "bundle", replace(bundle, config=replace(bundle.config, search=search)))
    captioner = Captioner.load(tmp_path / "bundle")
    encoder, config, _ = load_encoder(finetuned)
    whole = CaptionerConfig.from_json((finetuned / "config.json").read_text())
    engine = TensorFlowEngine(encoder, load_decoder(finetuned, whole))
    pixels = np.stack([read_image(path.read_bytes()).pixels for path in sorted(drawn.glob("*.jpg"))[:6]])
    outputs = encoder(pixels, training=False)
    found = beam_search(engine.start(np.asarray(outputs["features"])), engine.step, search, end_id=END_ID)
    expected = [" ".join(bundle.vocabulary.decode(best[0].tokens)) for best in found]
    answers = captioner.predict(pixels, classes=1)
    assert [answer.captions[0].text for answer in answers] == expected
    logits = np.asarray(outputs["logits"])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    for answer, row in zip(answers, probabilities, strict=True):
        assert answer.classes[0].probability == pytest.approx(float(row.max()), rel=0.02)
    assert config == replace(ENCODER, classes=4)


def test_fine_tuning_goes_on_from_an_older_checkpoint_to_the_same_figures(
    runs: Stages, finetuned: Path, tmp_path: Path
) -> None:
    """The last checkpoints are taken away, as if they had never been written."""
    directory = tmp_path / "run"
    shutil.copytree(finetuned, directory)
    for path in sorted((directory / CHECKPOINTS).iterdir())[1:]:
        path.unlink()
    task = FinetuneTask(runs.encoder, runs.captioner, runs.records, TOGETHER, one_device())
    assert train_task(directory, task, RUN)
    assert dev_losses(directory) == dev_losses(finetuned)


def test_a_decoder_of_another_encoder_is_refused(runs: Stages, finetuned: Path) -> None:
    with pytest.raises(DataError, match="belong together"):
        FinetuneTask(finetuned, runs.captioner, runs.records, TOGETHER, one_device())
