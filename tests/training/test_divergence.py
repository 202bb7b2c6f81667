"""Every command that trains, at learning rates that are far too high: one line, and the last good checkpoint."""

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.training.processes import Launcher
from tests.training.toys import KERAS_RUNS, RUNS, Toys
from training.loop.checkpoint import read_progress

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

DIVERGED = re.compile(
    r"^Error: step (?P<step>\d+): expected a finite loss of at most 1,000, received .*: training has diverged\. "
    r"Give a lower --learning-rate than .*; (the last good checkpoint is (?P<last>.*): the same command goes on from "
    r"there|there is no good checkpoint: the same command begins anew)$",
    re.MULTILINE,
)


def diverging(toys: Toys, name: str, rate: str) -> list[str]:
    """Returns the words of a command at a constant, high rate, with a checkpoint and histograms at every step."""
    words = [*toys.commands[name], "--learning-rate", rate, "--checkpoint-steps", "1", "--summary-steps", "1"]
    return [*words, "--histogram-steps", "1", "--warmup", "0"] if name in RUNS else words


@pytest.mark.parametrize("rate", ["2", "1e12"])
@pytest.mark.parametrize("name", [*RUNS, *KERAS_RUNS])
def test_a_run_that_diverges_ends_in_one_line_and_goes_on_from_its_last_good_checkpoint(
    name: str, rate: str, toys: Toys, launcher: Launcher, tmp_path: Path
) -> None:
    command = [*diverging(toys, name, rate), "--out", str(tmp_path / "run")]
    status, log = launcher.run(*command)
    assert "Traceback" not in log, log
    assert "Warning" not in log, log
    if status == 0:
        assert rate == "2", log
        return
    assert (status, log.count("Error: ")) == (1, 1), log
    found = DIVERGED.search(log)
    assert found is not None, log
    status, again = launcher.run(*command)
    assert (status, again.count("Error: "), "Traceback" in again) == (1, 1, False), again
    repeated = DIVERGED.search(again)
    assert repeated is not None, again
    assert repeated["step"] == found["step"]
    if found["last"] is not None:
        values = load_file(found["last"]).values()
        assert all(np.isfinite(value).all() for value in values)
        assert read_progress(Path(found["last"]))["step"] < int(found["step"])
        assert repeated["last"] == found["last"]


def test_the_last_good_checkpoint_is_none_whose_loss_is_beyond_all_bounds(
    toys: Toys, launcher: Launcher, tmp_path: Path
) -> None:
    """It diverges while the rate rises, so that a checkpoint of the step before is there."""
    command = [*toys.commands["captioner"], "--learning-rate", "1e12", "--checkpoint-steps", "1", "--keep", "1"]
    command += ["--warmup", "0.99", "--epochs", "1000", "--out", str(tmp_path / "run")]
    status, log = launcher.run(*command)
    found = DIVERGED.search(log)
    assert (status, found is not None) == (1, True), log
