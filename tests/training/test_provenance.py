"""How a run was made: noted in its directory, passed on to what goes on from it, and kept in a bundle."""

from dataclasses import replace
from pathlib import Path

import pytest

from model.bundle import Bundle, save_bundle
from model.errors import DataError
from training.provenance import read_runs, recorded, stage


def test_a_run_that_goes_on_from_another_names_the_commands_of_both(tmp_path: Path) -> None:
    with recorded(tmp_path / "one", ["showtell-train", "distill", "--out", "a b"]):
        pass
    with recorded(tmp_path / "two", ["showtell-train", "distill"], after=tmp_path / "one"):
        pass
    assert stage(tmp_path / "two")["commands"] == ["showtell-train distill --out 'a b'", "showtell-train distill"]


def test_what_was_refused_is_not_noted_and_what_broke_off_is(tmp_path: Path) -> None:
    with pytest.raises(DataError), recorded(tmp_path, ["one"]):
        raise DataError("expected other photos")
    assert read_runs(tmp_path) == []
    with pytest.raises(KeyboardInterrupt), recorded(tmp_path, ["two"]):
        raise KeyboardInterrupt
    assert stage(tmp_path)["commands"] == ["two"]


def test_a_bundle_says_how_its_encoder_was_made(toy: Bundle, tmp_path: Path) -> None:
    made = {"commands": ["distill one", "distill two"], "hours": 1.5}
    config = replace(toy.config, provenance={"stages": {"encoder": made, "captioner": {"commands": ["captioner"]}}})
    save_bundle(tmp_path / "bundle", replace(toy, config=config))
    assert stage(tmp_path / "bundle") == made
    with recorded(tmp_path / "run", ["distill", "three"], after=tmp_path / "bundle"):
        pass
    assert stage(tmp_path / "run") == {"commands": ["distill one", "distill two", "distill three"], "hours": 1.5}


def test_a_bundle_that_does_not_know_says_nothing(toy: Bundle, tmp_path: Path) -> None:
    save_bundle(tmp_path / "bundle", toy)
    assert stage(tmp_path / "bundle") == {"commands": [], "hours": 0.0}
