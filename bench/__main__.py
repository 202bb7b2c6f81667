"""`python -m bench`: runs the benchmarks, prints a table and writes JSON."""

import os
from pathlib import Path

import click

from bench import engines, http, library, limits, protocols, training
from bench.report import Row, write_report

PARTS = {
    "limits": limits.measure,
    "engines": engines.measure,
    "http": http.measure,
    "protocols": protocols.measure,
    "library": library.measure,
    "training": training.measure,
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
    "--out",
    type=click.Path(path_type=Path),
    default=Path("build/bench.json"),
    show_default=True,
    help="JSON file to write.",
)
def main(parts: tuple[str, ...], out: Path) -> None:
    """Measures this machine; nothing else should run on it.

    \b
    Examples:
      python -m bench
      python -m bench --part engines --part limits
    """  # noqa: D301 - \b tells click not to wrap
    load = os.getloadavg()[0]
    if load > QUIET_LOAD:
        click.echo(
            f"warning: the machine is busy (load {load:.1f}); stop other programs for figures that count", err=True
        )
    rows: list[Row] = []
    for name in parts or PARTS:
        click.echo(f"measuring {name} …", err=True)
        rows += PARTS[name]()
    write_report(rows, out)


if __name__ == "__main__":
    main()
