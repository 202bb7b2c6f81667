"""What `--estimate` says of the memory, against the peak of the run itself: each in a process of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.processes import ROOT, SECONDS
from tests.training.toys import KERAS_RUNS, RUNS, Toys

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

WITH_PEAK = """
import os, subprocess, sys
process = subprocess.Popen([sys.executable, "-m", "training.cli", *sys.argv[1:]])
_, status, usage = os.wait4(process.pid, 0)
print(f"peak: {usage.ru_maxrss // 1024} MiB", flush=True)
os._exit(os.waitstatus_to_exitcode(status))
"""
"""Runs a command from a small process, since the peak of a child is at least what its parent held when it began."""

LARGER = {
    "classifier": ("--widths", *["0.25"] * 5, "--input-pooling", "2", "--batch-size", "8", "--epochs", "1"),
    "captioner": ("--units", "1024", "--embedding-units", "512", "--epochs", "2"),
    "together": ("--units", "1024", "--batch-size", "8", "--epochs", "1"),
    "self-critical": ("--batch-size", "8", "--epochs", "1"),
    "finetune": ("--batch-size", "8", "--epochs", "1"),
    "finetune-maps": ("--batch-size", "8", "--epochs", "1"),
    "distill-top": ("--epochs", "1"),
    "distill": ("--epochs", "1", "--views", "1", "--batch-size", "8"),
}
"""Options that make a run so large that its memory is not that of TensorFlow alone, and short."""

SHARE = 0.25
"""How far the estimate may be from the peak, as a share of it."""


def test_every_command_that_trains_is_measured() -> None:
    assert LARGER.keys() == {*RUNS, *KERAS_RUNS, "distill"}


@pytest.mark.parametrize("name", LARGER)
def test_an_estimate_is_near_the_peak_of_the_run(
    toys: Toys, drawn: Path, teacher: Path, tmp_path: Path, name: str
) -> None:
    words = toys.commands.get(name, ["distill", "--photos", str(drawn), "--teacher", str(teacher)])
    command = [*words, *LARGER[name], "--out", str(tmp_path / "run")]
    told = _number(r"memory of the process: about ([\d,]+) MiB", _run([*command, "--estimate"]))
    assert not (tmp_path / "run").exists()
    peak = _number(r"peak: (\d+) MiB", _run(command))
    assert told == pytest.approx(peak, rel=SHARE)


def _run(command: list[str]) -> str:
    arguments = [sys.executable, "-c", WITH_PEAK, *command]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=2 * SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    assert found is not None, text
    return int(found[1].replace(",", ""))
