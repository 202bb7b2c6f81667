"""How well pictures of other kinds are told: the area under the curve, and the command on a tiny bundle."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from model.captioner import Captioner
from model.familiarity import FAMILIARITY
from model.vocabulary import Vocabulary
from tests.training.stages import read_folder
from training.commands.familiarity import familiarity
from training.data.records import write_records
from training.scoring.unlikeness import auroc


@pytest.fixture(scope="module")
def records(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns records of the drawn photos."""
    path = tmp_path_factory.mktemp("unlikeness") / "records"
    vocabulary = Vocabulary.build(["a red square"])
    assert write_records(path, read_folder(drawn, dev_fraction=0.3), vocabulary, max_words=6)
    return path


@pytest.mark.parametrize("seed", range(3))
def test_the_area_is_the_share_of_pairs_in_the_right_order(seed: int) -> None:
    random = np.random.default_rng(seed)
    low = random.integers(0, 9, 30).astype(np.float32)
    high = random.integers(2, 12, 20).astype(np.float32)
    pairs = [(above > below) + 0.5 * (above == below) for above in high for below in low]
    assert auroc(low, high) == pytest.approx(np.mean(pairs))
    assert auroc(high, low) == pytest.approx(1 - np.mean(pairs))


def test_the_command_measures_and_writes_a_bundle_that_can_tell(
    toy_bundle: Path, records: Path, drawn: Path, tmp_path: Path
) -> None:
    arguments = [str(toy_bundle), "--records", str(records), "--unlike", f"the same={drawn}"]
    done = CliRunner().invoke(familiarity, [*arguments, "--out", str(tmp_path / "bundle")])
    assert done.exit_code == 0, done.output
    rows = {line[:16].strip(): line[16:].split() for line in done.stdout.splitlines()}
    assert rows[""] == ["photos", "AUROC", "above"]
    assert rows["noise"][0] == rows["squares"][0] == "100"
    assert int(rows["the same"][0]) == len(list(drawn.glob("*.jpg")))
    assert all(0 <= float(rows[name][1]) <= 1 for name in ("dev", "noise", "squares", "the same"))
    assert {file.name for file in (tmp_path / "bundle").iterdir()} == {
        FAMILIARITY, *(file.name for file in toy_bundle.iterdir())
    }  # fmt: skip
    noise = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    unlikeness = Captioner.load(tmp_path / "bundle").predict(noise)[0].unlikeness
    assert unlikeness is not None
    assert unlikeness > 0


def test_a_folder_needs_a_name_and_must_exist(toy_bundle: Path, records: Path, tmp_path: Path) -> None:
    for given in (str(tmp_path), f"drawings={tmp_path / 'missing'}", f"={tmp_path}"):
        refused = CliRunner().invoke(familiarity, [str(toy_bundle), "--records", str(records), "--unlike", given])
        assert refused.exit_code == 2
        assert "expected NAME=FOLDER" in refused.output
