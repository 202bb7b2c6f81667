"""Training encoder and decoder together from the start, on drawn photos, and the commands of the preset `original`."""

import json
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from model.config import CaptionerConfig, EncoderConfig
from model.errors import DataError
from model.presets import original, paper
from model.vocabulary import Vocabulary
from tests.training.stages import RUN, one_device, read_folder
from training.cli import main
from training.commands.options import chosen, preset_device_flags
from training.config import CaptionerTrainingConfig, FinetuneConfig, OptimizerConfig, PipelineConfig
from training.data.language import Language
from training.data.records import VOCABULARY, write_records
from training.decoder.together import TogetherTask
from training.loop.directory import METRICS
from training.loop.estimate import estimate
from training.loop.run import train_task
from training.presets import DEVICES, original_classifier
from training.shipping.export import assemble

# A clock decides whether matplotlib says so, on a busy machine.
pytestmark = pytest.mark.slow

MAX_WORDS = 12
"""Others than the preset's."""

OPTIMIZER = OptimizerConfig(name="sgd", learning_rate=0.2, schedule="constant", momentum=0.0, weight_decay=0.0)
TOGETHER = FinetuneConfig(
    captions=CaptionerTrainingConfig(epochs=3, loss="sampled", negative_samples=5, optimizer=OPTIMIZER),
    pipeline=PipelineConfig(batch_size=5, flip=False),
    encoder_learning_rate=OPTIMIZER.learning_rate,
)


@pytest.fixture(scope="module")
def records(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("together") / "records"
    images = read_folder(drawn, dev_fraction=0.3)
    vocabulary = Vocabulary.build([text for image in images for text in image.captions])
    write_records(path, images, vocabulary, max_words=MAX_WORDS, language=Language("en", "icu"))
    return path


def toy_original() -> CaptionerConfig:
    """Returns the design at a size that trains in seconds: the feature is fed unprojected, as there."""
    config = original()
    encoder = replace(config.encoder, widths=(0.05,) * 5, fc_units=16, input_pooling=4, classes=4, dropout=0.0)
    decoder = replace(config.decoder, embedding_units=16, layers=2, units=12)
    return replace(config, encoder=encoder, decoder=decoder)


def test_both_learn_and_are_exported_together(records: Path, tmp_path: Path) -> None:
    assert train_task(tmp_path, TogetherTask(records, toy_original(), TOGETHER, one_device()), RUN)
    dev = [line for line in map(json.loads, (tmp_path / METRICS).read_text().splitlines()) if line["kind"] == "dev"]
    assert dev[-1]["loss"] < dev[0]["loss"]
    bundle = assemble(tmp_path, tmp_path, records, ())
    assert (bundle.config.search.max_words, bundle.config.segmentation) == (MAX_WORDS, "icu")
    assert bundle.config.encoder.normalization == "unit"
    assert bundle.config.decoder.vocabulary_size == len(Vocabulary.load(records / VOCABULARY))


def test_both_learn_at_one_rate_and_their_needs_are_estimated(records: Path) -> None:
    task = TogetherTask(records, toy_original(), TOGETHER, one_device())
    assert task.spec.multipliers == {}
    assert "3 epochs" in estimate(task)


def test_an_encoder_whose_features_do_not_fit_is_refused(records: Path, tmp_path: Path) -> None:
    assert train_task(tmp_path, TogetherTask(records, toy_original(), TOGETHER, one_device()), RUN)
    with pytest.raises(DataError, match=r"expected an encoder with features of 4096 numbers.*found 16"):
        TogetherTask(records, original(), TOGETHER, one_device(), tmp_path)


def test_the_original_preset_has_the_numbers_of_the_design() -> None:
    config = original()
    assert config.encoder == replace(paper().encoder, normalization="unit") == EncoderConfig(normalization="unit")
    assert (config.decoder, config.search) == (paper().decoder, paper().search)
    training = original_classifier()
    assert (training.pipeline.batch_size, training.pipeline.threads, training.pipeline.shuffle_buffer) == (5, 2, 115)
    rates = [training.optimizer.rate(step, 10**6) for step in (0, 99_999, 100_000, 200_000)]
    assert rates == pytest.approx([0.05, 0.05, 0.05 * 0.998, 0.05 * 0.998**2])
    assert (training.optimizer.name, training.optimizer.clip_norm) == ("adam", 0.0)


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="showtell-train")


def test_the_original_preset_runs_on_four_towers_unless_told_otherwise() -> None:
    found: list[str] = []

    @click.command()
    @preset_device_flags
    def command(**options: object) -> None:
        found.extend(chosen(DEVICES[preset], options).devices for preset in ("original", "paper"))

    CliRunner().invoke(command, [])
    CliRunner().invoke(command, ["--devices", "cpu"])
    assert found == ["cpu:4", "auto", "cpu", "cpu"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give one of them, or neither with --together"),
        (("--encoder", ".", "--imagenet", "x.h5"), "expected either --encoder or --imagenet"),
    ],
)
def test_captioner_says_what_goes_together(records: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    result = run("captioner", "--records", records, "--out", tmp_path / "out", *words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_the_vocabulary_has_the_size_that_was_asked_for_exactly(drawn: Path, tmp_path: Path) -> None:
    asked = ["prepare", "folder", drawn, "--min-count", 1, "--out"]
    assert run(*asked, tmp_path / "seven", "--vocabulary-size", 7).exit_code == 0
    assert len(Vocabulary.load(tmp_path / "seven" / VOCABULARY)) == 7
    result = run(*asked, tmp_path / "many", "--vocabulary-size", 10_000)
    assert result.exit_code == 1
    assert "expected 10000 tokens, found 13" in result.stderr
