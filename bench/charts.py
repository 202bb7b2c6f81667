"""`python -m bench.charts`: draws charts (PNG) of what `python -m bench` wrote."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import engines, http
from bench.asked import OURS
from bench.contenders import OURS as OUR_ENGINE
from bench.sizes import Size
from model.atomic import atomic_file

DOTS_PER_INCH = 110
WIDTH_INCHES = 8.0
OUR_COLOUR = "#0b5fa5"
OUR_LIGHT_COLOUR = "#7fb3dc"
COLOUR = "#6f7680"
LIGHT_COLOUR = "#c3c8ce"
PEER_COLOURS = ("#b5651d", "#3b7d4f", "#8a4f9e", "#a8323e", "#5c5c5c", "#8c7a1f")
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "text.usetex": False,
}
TITLES: Mapping[Size, str] = {
    "full size": "Full size (preset paper, random weights)",
    "default bundle": "Default bundle",
    "small": "Preset small, random weights",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One engine of a chart: its name, and milliseconds for one image."""

    what: str
    encode: float
    search: float
    total: float


def bars(rows: Sequence[Mapping[str, Any]], size: Size) -> list[Bar]:
    """Returns the engines that were measured at a size, the fastest first."""
    stages = {stage: _values(rows, engines.PART, f"{size}: {stage}, ") for stage in engines.STAGES}
    found = [
        Bar(what, stages["encode"][what], stages["search"][what], total) for what, total in stages["total"].items()
    ]
    return sorted(found, key=lambda bar: bar.total)


def lines(rows: Sequence[Mapping[str, Any]], size: Size) -> dict[str, list[tuple[int, float]]]:
    """Returns the images per second of each server at a size, by the number of clients."""
    found: dict[str, list[tuple[int, float]]] = {}
    for clients in http.CLIENTS:
        prefix = f"{size}: {clients} client{'s' * (clients > 1)}: "
        for what, rate in _values(rows, http.PART, prefix).items():
            found.setdefault(what, []).append((clients, rate))
    return found


def draw(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Draws a chart for each part and size that the rows are of.

    Args:
        rows: As `bench.report.write_report` writes them.
        folder: Where `engines-SIZE.png` and `http-SIZE.png` go; made where it is missing.

    Returns:
        The charts. The same rows give the same bytes with the same matplotlib.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for size in get_args(Size):
        name = size.replace(" ", "-")
        if timed := bars(rows, size):
            height = 1.2 + 0.42 * len(timed)
            made.append(_drawn(folder / f"engines-{name}.png", height, partial(_bars, size=size, timed=timed)))
        if loaded := lines(rows, size):
            made.append(_drawn(folder / f"http-{name}.png", 4.0, partial(_lines, size=size, loaded=loaded)))
    return made


def _values(rows: Sequence[Mapping[str, Any]], part: str, prefix: str) -> dict[str, float]:
    """Returns the measured values of the rows whose names start so, by the rest of their names."""
    told = [row for row in rows if row["part"] == part and row["what"].startswith(prefix) and row["value"] is not None]
    return {row["what"].removeprefix(prefix): row["value"] for row in told}


def _drawn(path: Path, height: float, draw_on: Callable[[Axes], None]) -> Path:
    with mpl.rc_context(STYLE), atomic_file(path) as temporary:
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        draw_on(figure.add_subplot())
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return path


def _bars(axes: Axes, size: Size, timed: Sequence[Bar]) -> None:
    ours = next((bar.total for bar in timed if bar.what == OUR_ENGINE.what), timed[0].total)
    for place, bar in enumerate(timed):
        dark, light = (OUR_COLOUR, OUR_LIGHT_COLOUR) if bar.what == OUR_ENGINE.what else (COLOUR, LIGHT_COLOUR)
        axes.barh(place, bar.encode, color=dark)
        axes.barh(place, bar.search, left=bar.encode, color=light)
        axes.barh(place, max(0.0, bar.total - bar.encode - bar.search), left=bar.encode + bar.search, color="#eceef0")
        axes.text(bar.total, place, f"  {bar.total:.0f} ms ({bar.total / ours:.1f})", va="center")
    axes.set_yticks(range(len(timed)), [bar.what for bar in timed])
    axes.invert_yaxis()
    axes.margins(x=0.16)
    axes.set_xlabel("milliseconds, in brackets against ours; dark: encoding, light: 12 words with beam 3", x=0.35)
    axes.set_title(f"{TITLES[size]}: one image", loc="left", fontweight="bold", pad=10)


def _lines(axes: Axes, size: Size, loaded: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    colours = iter(PEER_COLOURS * len(loaded))
    for what, points in loaded.items():
        colour, width = (OUR_COLOUR, 3.0) if what == OURS else (next(colours), 1.6)
        clients, rates = zip(*points, strict=True)
        axes.plot(clients, rates, marker="o", color=colour, linewidth=width, label=what)
    axes.set_xscale("log", base=2)
    axes.set_xticks(http.CLIENTS, [str(clients) for clients in http.CLIENTS])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#e3e5e8")
    axes.set_xlabel("clients at the same time")
    axes.set_ylabel("images per second")
    axes.set_title(f"{TITLES[size]}: over HTTP", loc="left", fontweight="bold")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


@click.command()
@click.argument("report", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(report: tuple[Path, ...], folder: Path) -> None:
    """Draws charts of REPORTs, the JSON files of `python -m bench`, into FOLDER.

    \b
    Example:
      python -m bench.charts build/bench.json docs/images
    """  # noqa: D301 - \b tells click not to wrap
    rows = [row for path in report for row in json.loads(path.read_text())["rows"]]
    made = draw(rows, folder)
    for path in made:
        click.echo(str(path))
    if not made:
        raise click.ClickException("expected rows of the parts engines or http, found none; measure one of them first")


if __name__ == "__main__":
    main()
