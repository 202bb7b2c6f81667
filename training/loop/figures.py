"""The figures of a run, as JSON lines."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from model.atomic import atomic_file
from training.loop.directory import METRICS


class FigureLog:
    """The file of a run's figures, with a JSON object on each line.

    Args:
        directory: Run directory.
        step: Steps that the run has taken; lines of later steps are dropped.
        active: Whether this process writes; of several workers only the chief does.
    """

    def __init__(self, directory: Path, step: int, *, active: bool = True) -> None:
        self.path = directory / METRICS
        self.active = active
        self._recent: dict[str, list[float]] = {}
        self._lines: list[str] = []
        self._written = False
        if active:
            self._forget_after(step)

    def __enter__(self) -> "FigureLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def _forget_after(self, step: int) -> None:
        """Drops the lines of steps after the last checkpoint: a killed run took them, and they will be taken again."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text().splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(f"{line}\n")
            except ValueError:
                continue  # cut off by the kill
        with atomic_file(self.path) as file:
            file.write_text("".join(kept))

    def recent(self, name: str) -> float:
        """Returns the mean of a figure since the last line."""
        return float(np.mean(self._recent.get(name, [float("nan")])))

    def train(self, step: int, figures: Mapping[str, float], *, write: bool) -> None:
        """Collects the figures of a step; if `write`, writes a line with their means since the last line."""
        if self._written:
            self._recent = {}
            self._written = False
        for name, value in figures.items():
            self._recent.setdefault(name, []).append(value)
        if write:
            self.write(step, "train", {name: float(np.mean(values)) for name, values in self._recent.items()})
            self._written = True

    def write(self, step: int, kind: str, figures: Mapping[str, float]) -> None:
        """Writes a line; figures that are not finite are left out, since JSON has no word for them.

        Args:
            step: The step after which it holds.
            kind: `train`, or `dev` for figures of photos that are not trained on.
            figures: The figures by name.
        """
        if not self.active:
            return
        rounded = {name: float(f"{value:.6g}") for name, value in figures.items() if np.isfinite(value)}
        self._lines.append(json.dumps({"step": step, "kind": kind} | rounded) + "\n")
        if kind == "dev":
            self.flush()

    def flush(self) -> None:
        """Appends the lines that were written to the file."""
        if self.active and self._lines:
            with self.path.open("a") as file:
                file.write("".join(self._lines))
            self._lines = []
