"""The curves of a training run: its metrics file as one SVG of small panels."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.atomic import atomic_file
from model.errors import DataError

Series = Sequence[tuple[int, float]]
Panels = Mapping[str, Mapping[str, Series]]

COLUMNS = 3
POINTS = 400
"""Most points of a line."""

MARKED_POINTS = 30
"""Most points that are marked one by one."""

PANEL_INCHES = (3.6, 2.4)
COLOURS = {"train": "#1f77b4", "dev": "#d62728"}
OTHER_COLOUR = "#7f7f7f"
FIXED: dict[Any, Any] = {"svg.hashsalt": "curves", "svg.fonttype": "none", "path.simplify": False, "text.usetex": False}
"""Settings under which the same metrics give the same bytes."""


def draw_curves(metrics: Path, target: Path) -> None:
    """Draws every figure of a metrics file over the steps, one panel each, train and dev together.

    Args:
        metrics: A JSON object a line with `step` (an int), `kind` (`train`, `dev`) and any figures. A last line
            that is only half written is left out; of two values at one step the later holds, as after a resumed run.
        target: The SVG to write. The same metrics give the same bytes.

    Raises:
        DataError: The file is missing, has no figures, or has a line of another form before its last.
    """
    panels = read_metrics(metrics)
    if not panels:
        raise DataError(f"{metrics}: expected a JSON object with step, kind and figures a line, found none")
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    with mpl.rc_context(FIXED), atomic_file(target) as temporary:
        figure = Figure(figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows), layout="constrained")
        for position, (name, lines) in enumerate(panels.items(), start=1):
            _draw_panel(figure.add_subplot(rows, columns, position), name, lines)
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})


def read_metrics(metrics: Path) -> Panels:
    """Reads a metrics file.

    Args:
        metrics: As for `draw_curves`.

    Returns:
        By figure, then by kind: the pairs of step and finite value, in order of the steps.

    Raises:
        DataError: The file is missing, or has a line of another form before its last.
    """
    found: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for step, kind, figures in _entries(metrics):
        for name, value in figures.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                found[name][kind][step] = float(value)
    return {name: {kind: sorted(values.items()) for kind, values in kinds.items()} for name, kinds in found.items()}


def _entries(metrics: Path) -> list[tuple[int, str, dict[str, object]]]:
    try:
        lines = metrics.read_bytes().rstrip().split(b"\n")
    except OSError as error:
        raise DataError(f"{metrics}: expected the metrics file of a training run: {error}") from error
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(_entry(line))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if number == len(lines):
                break  # Half a line: the run was killed, or is writing it now.
            raise DataError(
                f"{metrics}:{number}: expected a JSON object with a whole number as step and a word as kind, received "
                f"{line[:60]!r}; remove the line"
            ) from error
    return entries


def _entry(line: bytes) -> tuple[int, str, dict[str, object]]:
    figures = dict(json.loads(line))
    step = figures.pop("step")
    kind = figures.pop("kind")
    if type(step) is not int or type(kind) is not str:
        raise TypeError
    return step, kind, figures


def _draw_panel(axes: Axes, name: str, lines: Mapping[str, Series]) -> None:
    for kind, series in sorted(lines.items(), key=lambda line: line[0] != "train"):
        steps, values = zip(*_thinned(series), strict=True)
        marker = "o" if len(steps) <= MARKED_POINTS else ""
        colour = COLOURS.get(kind, OTHER_COLOUR)
        axes.plot(steps, values, color=colour, linewidth=1.2, marker=marker, markersize=3, label=kind)
    axes.set_title(name.replace("_", " "), fontsize=10, parse_math=False)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, linewidth=0.4, alpha=0.5)
    axes.legend(loc="upper right", fontsize=8, frameon=False)  # "best" is slow on long series


def _thinned(series: Series) -> Series:
    """Returns at most `POINTS` points: means of neighbours, at the middle of their steps."""
    size = math.ceil(len(series) / POINTS)
    groups = [series[start : start + size] for start in range(0, len(series), size)]
    return [(group[len(group) // 2][0], sum(value / len(group) for _, value in group)) for group in groups]
