"""How a run was made: noted in its directory, passed on to what goes on from it, and kept in a bundle."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.bundle import Bundle, save_bundle
from model.errors import DataError
from training.provenance import Part, read_runs, recorded, stage


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


def test_a_bundle_says_how_its_parts_were_made(toy: Bundle, tmp_path: Path) -> None:
    made: dict[Part, dict[str, Any]] = {
        "encoder": {"commands": ["distill one", "distill two"], "hours": 1.5},
        "captioner": {"commands": ["captioner"], "hours": 0.5},
    }
    config = replace(toy.config, provenance={"stages": made})
    save_bundle(tmp_path / "bundle", replace(toy, config=config))
    for part, before in made.items():
        assert stage(tmp_path / "bundle", part) == before
        with recorded(tmp_path / part, ["and", "on"], tmp_path / "bundle", part):
            pass
        assert stage(tmp_path / part) == before | {"commands": [*before["commands"], "and on"]}


def test_a_bundle_that_does_not_know_says_nothing(toy: Bundle, tmp_path: Path) -> None:
    save_bundle(tmp_path / "bundle", toy)
    assert stage(tmp_path / "bundle") == {"commands": [], "hours": 0.0}
