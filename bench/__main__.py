"""`python -m bench`: runs the benchmarks, prints a table and writes JSON."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_args

import click

from bench import agreement, cores, engines, explain, http, library, limits, protocols, reading, training
from bench.report import Row, write_report
from bench.sizes import Size

PARTS: dict[str, Callable[[], list[Row]]] = {
    "limits": limits.measure,
    "engines": engines.measure,
    "reading": reading.measure,
    "agreement": agreement.measure,
    "http": http.measure,
    "cores": cores.measure,
    "protocols": protocols.measure,
    "library": library.measure,
    "training": training.measure,
    "explain": explain.measure,
}
QUIET_LOAD = 0.5
"""Processes that may be running on average over the last minute."""


@click.command()
@click.option(
    "--part",
    "parts",
    type=click.Choice(sorted(PARTS)),
    multiple=True,
    help="Part to run; may be repeated. Default: all.",
)
@click.option(
    "--size",
    "sizes",
    type=click.Choice(get_args(Size)),
    multiple=True,
    help="Captioner that the parts limits, engines and http measure; may be repeated. Default: all.",
)
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of photos for the parts agreement, explain and reading; without one they take drawn pictures.",
)
@click.option(
    "--most-photos",
    type=click.IntRange(1),
    default=explain.PHOTOS,
    show_default=True,
    help="Most photos of the folder.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("build/bench.json"),
    show_default=True,
    help="JSON file to write.",
)
def main(parts: tuple[str, ...], sizes: tuple[Size, ...], photos: Path | None, most_photos: int, out: Path) -> None:
    """Measures this machine; nothing else should run on it.

    \b
    Examples:
      python -m bench
      python -m bench --part engines --part limits --size 'full size'
      python -m bench --part explain --photos photos/
    """  # noqa: D301 - \b tells click not to wrap
    load = os.getloadavg()[0]
    if load > QUIET_LOAD:
        click.echo(
            f"warning: the machine is busy (load {load:.1f}); stop other programs for figures that count", err=True
        )
    rows: list[Row] = []
    chosen = sizes or get_args(Size)
    asked: dict[str, Callable[[], list[Row]]] = {
        "limits": partial(limits.measure, chosen),
        "engines": partial(engines.measure, chosen),
        "http": partial(http.measure, chosen),
        "agreement": partial(agreement.measure, photos, most_photos),
        "explain": partial(explain.measure, photos, most_photos),
        "reading": partial(reading.measure, photos, most_photos),
    }
    for name in parts or PARTS:
        click.echo(f"measuring {name} …", err=True)
        rows += (PARTS | asked)[name]()
    write_report(rows, out)


if __name__ == "__main__":
    main()
