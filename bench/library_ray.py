"""Measures `showtell` and `showtell-ray` on one folder and one machine, each as a whole command, its start and all.

On one machine Ray is to be no faster: it starts servers of its own, and hands every photo from process to process.
"""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bench.apart import NO_RAY, python_with_ray
from bench.process import TIMEOUT_SECONDS, TOLD_CHARACTERS
from bench.report import Row, compared, skipped_row

PLAIN = "showtell --write parquet, the whole command"
ON_RAY = "showtell-ray, the whole command"

COMMANDS: Mapping[str, tuple[str, ...]] = {
    PLAIN: ("model.cli", "--write", "parquet", "--out", "table.parquet"), ON_RAY: ("model.ray_cli", "--out", "table"),
}  # fmt: skip


def measure_ray(part: str, bundle: Path, folder: Path, runs: int) -> list[Row]:
    """Measures both commands by turns, or says that Ray is missing.

    Args:
        part: Part of the benchmark.
        bundle: What captions.
        folder: Folder with the photos.
        runs: How often each is measured.
    """
    photos = len(list(folder.iterdir()))
    python = python_with_ray()
    if python is None:
        return [skipped_row(part, f"{photos} photos: {what}", NO_RAY) for what in COMMANDS]
    seconds: dict[str, list[float]] = {what: [] for what in COMMANDS}
    for _ in range(runs):
        for what in COMMANDS:
            seconds[what].append(_seconds(what, python, bundle, folder))
    plain, on_ray = (_row(part, what, photos, seconds[what]) for what in COMMANDS)
    return [compared(plain, on_ray), on_ray]


def _row(part: str, what: str, photos: int, seconds: list[float]) -> Row:
    rate = round(photos / statistics.median(seconds), 1)
    row = Row(part, f"{photos} photos: {what}", rate, len(seconds), "images/s")
    return replace(row, figures={"s": round(statistics.median(seconds), 1)})


def _seconds(what: str, python: str, bundle: Path, folder: Path) -> float:
    """Returns how long a command takes for all photos of a folder.

    Raises:
        RuntimeError: It failed; the message ends with its output.
    """
    module, *options = COMMANDS[what]
    with tempfile.TemporaryDirectory() as out:
        options[-1] = str(Path(out) / options[-1])
        command = [python, "-m", module, str(folder), "--bundle", str(bundle), *options]
        started = time.perf_counter()
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)  # noqa: S603
        seconds = time.perf_counter() - started
    if done.returncode:
        told = done.stderr[-TOLD_CHARACTERS:]
        raise RuntimeError(f"expected `{' '.join(command)}` to succeed, it exited with {done.returncode}:\n{told}")
    return seconds
