"""The fuzzer itself: what is planted is found, saved and repeated; where there is nothing, nothing is."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest


def fuzz(folder: Path, target: str, seconds: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz", "--without-atheris", "--seed", "1", "--findings", str(folder)]
    command += ["--target", target, "--seconds", str(seconds)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("raises", "ZeroDivisionError"), ("takes_time", "s of processor time"), ("takes_memory", "bytes of memory"),
        ("ends", "the process ended with status -6"),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found_saved_and_repeated(tmp_path: Path, fault: str, words: str) -> None:
    done = fuzz(tmp_path, f"tests.fuzz.faults:{fault}", 120)
    assert done.returncode == 1, done.stderr
    assert f"FOUND by tests.fuzz.faults:{fault}: " in done.stderr
    assert words in done.stderr
    (saved,) = tmp_path.iterdir()
    assert 3 < len(saved.read_bytes()) < 20
    command = re.search("repeat it with: (.+)", done.stderr)
    assert command is not None
    assert str(saved) in command[1]
    assert subprocess.run(shlex.split(command[1]), check=False, capture_output=True).returncode != 0


@pytest.mark.parametrize("target", ["image", "form"])
def test_nothing_is_found_in_a_second(tmp_path: Path, target: str) -> None:
    done = fuzz(tmp_path, target, 1)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"{target}: [1-9]\d* inputs, nothing found", done.stderr)
    assert not any(tmp_path.iterdir())
