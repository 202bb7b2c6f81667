"""Runs each measurement in a process of its own, so that none warms up, or takes memory, for another."""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 900.0
TOLD_CHARACTERS = 2000


def run_json(module: str, *arguments: object, timeout_seconds: float = TIMEOUT_SECONDS) -> Any:
    """Runs `python -m module arguments…` and returns the JSON on the last line that it prints.

    Raises:
        RuntimeError: It failed; the message ends with its output.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout_seconds)  # noqa: S603
    if done.returncode:
        told = done.stderr[-TOLD_CHARACTERS:]
        raise RuntimeError(f"expected `{' '.join(command)}` to succeed, it exited with {done.returncode}:\n{told}")
    return json.loads(done.stdout.splitlines()[-1])


def run_timed(module: str, *arguments: object) -> Any:
    """Runs as `run_json` does, with the time of the start, by `time.monotonic()`, as one more argument."""
    return run_json(module, *arguments, time.monotonic())


def answer_json(value: object) -> None:
    """Prints the value that `run_json` returns in the calling process."""
    sys.stdout.write("\n" + json.dumps(value) + "\n")


def family(process: int) -> list[int]:
    """Returns a process and all that it has started, those that still run."""
    found = [process]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in children.read_text().split()]
    return found


def family_memory_mib(process: int) -> float:
    """Returns the resident memory of a process and all that it has started, what they share counted once, in MiB."""
    total = 0.0
    for one in family(process):
        with contextlib.suppress(OSError):  # it may just have ended
            total += own_memory_mib(one)
    return round(total, 1)


def own_memory_mib(process: int) -> float:
    """Returns the resident memory of a process, of what it shares with others its part, in MiB.

    A file that is mapped twice counts once; in `memory_mib` it counts twice.
    """
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    return round(int(rollup.partition("\nPss:")[2].split()[0]) / 1024, 1)


def memory_mib(process: int | str = "self") -> dict[str, float]:
    """Returns the resident memory of a process and its peak, in MiB, as `now` and `peak`."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    sizes = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return {"now": round(int(sizes["VmRSS"]) / 1024, 1), "peak": round(int(sizes["VmHWM"]) / 1024, 1)}
