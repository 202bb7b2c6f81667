"""Records without dev, and with captions of a length of their own: every command takes them as they are."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from model.bundle import BundleInfo
from model.config import CaptionerConfig
from model.errors import ConfigError
from tests.training.processes import Launcher
from tests.training.toys import RUNS, Toys, make_toys
from training.cli import main
from training.data.records import read_max_words
from training.loop.checkpoint import BEST
from training.loop.directory import CHECKPOINTS, CURVES, METRICS
from training.shipping.export import checked_search

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

MAX_WORDS = 40


@pytest.fixture(scope="module")
def alone(drawn: Path, lite2: Path, tmp_path_factory: pytest.TempPathFactory) -> Toys:
    """Returns the inputs of every command, without dev, and with captions of at most 40 words."""
    return make_toys(tmp_path_factory.mktemp("alone"), drawn, lite2, dev_fraction=0.0, max_words=MAX_WORDS)


@pytest.mark.parametrize("name", RUNS)
def test_every_command_trains_without_dev_and_keeps_the_last_checkpoint_as_the_best(
    name: str, alone: Toys, launcher: Launcher, tmp_path: Path
) -> None:
    status, log = launcher.run(*alone.commands[name], "--out", str(tmp_path))
    assert (status, "Traceback" in log) == (0, False), log
    assert log.count("no split dev: nothing is scored, and the last checkpoint is kept as the best") == 1
    last = load_file(max((tmp_path / CHECKPOINTS).glob("step-*")))
    best = load_file(tmp_path / BEST)
    assert all((best[key] == value).all() for key, value in last.items())
    assert (tmp_path / CURVES).exists()
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert {line["kind"] for line in lines} == {"train"}


@pytest.fixture(scope="module")
def exported(alone: Toys, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Returns a bundle of a decoder that was trained without dev, and its classes."""
    root = tmp_path_factory.mktemp("exported")
    classes = root / "classes.json"
    classes.write_text(json.dumps([{"id": f"n{number:08}", "label": f"class {number}"} for number in range(1000)]))
    words = ["export", "--records", alone.records, "--encoder", alone.encoder, "--captioner", alone.captioner]
    result = CliRunner().invoke(main, [*map(str, words), "--classes", str(classes), "--out", str(root / "bundle")])
    assert result.exit_code == 0, result.output
    assert "the bundle has no scores" in result.output
    return root / "bundle", classes


def test_a_bundle_without_scores_says_how_far_the_engines_agree(exported: tuple[Path, Path]) -> None:
    config = BundleInfo.from_bundle(exported[0]).config
    assert config.scores == {}
    assert config.provenance["parity"].keys() == {"captions", "classes"}
    assert config.provenance["parity"]["captions"] > 50


def test_run_and_bundle_have_the_length_of_the_records(alone: Toys, exported: tuple[Path, Path]) -> None:
    assert read_max_words(alone.records) == MAX_WORDS
    run = CaptionerConfig.from_json((alone.captioner / "config.json").read_text())
    assert run.search.max_words == MAX_WORDS
    assert BundleInfo.from_bundle(exported[0]).config.search == run.search


def test_a_length_beyond_that_of_the_records_is_refused_and_a_shorter_one_is_taken(alone: Toys) -> None:
    own = CaptionerConfig.from_json((alone.captioner / "config.json").read_text()).search
    with pytest.raises(ConfigError, match=r"max_words: expected at most 40, .* received 41; or prepare"):
        checked_search(own, alone.records, {"max_words": 41, "beam_size": None})
    shorter = checked_search(own, alone.records, {"max_words": 12, "beam_size": 2})
    assert (shorter.max_words, shorter.beam_size) == (12, 2)


def test_a_bundle_of_shorter_captions_is_scored_only_where_that_is_asked_for(alone: Toys, toy_bundle: Path) -> None:
    """The toy bundle has captions of at most 6 words."""
    words = ["evaluate", str(toy_bundle), "--records", str(alone.records), "--split", "train"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert "max_words: expected 40 in " in result.output
    assert "found 6, which cuts captions short; give --max-words 6 to score the bundle as it is" in result.output
    result = CliRunner().invoke(main, [*words, "--max-words", "6", "--tokenizer", "showtell"])
    assert result.exit_code == 0, result.output
