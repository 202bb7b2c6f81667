"""`showtell-train doctor`: why captions are all alike."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.commands.options import EXISTING, option, reported

if TYPE_CHECKING:
    from rich.table import Table

    from training.doctor.examination import Report

WIDTH = 120
"""Columns of the table where nobody says how wide the terminal is."""

_COLOURS = {"fine": "green", "look": "yellow", "wrong": "bold red", "not done": "dim"}


class _UnreadableError(click.ClickException):
    """What was given cannot be read."""

    exit_code = 2


@click.command()
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="RUN|BUNDLE|RECORDS")
@option("--records", type=EXISTING, help="Records from `prepare`. Default: those that a run names.")
@option("--encoder", type=EXISTING, help="The encoder that the decoder was trained on. Default: the one a run names.")
@option("--photos", type=click.IntRange(1), default=100, help="Photos of dev that networks are run on.")
@option(
    "--train-photos",
    type=click.IntRange(1),
    default=20_000,
    help="Photos of train, and of dev, after which no more records are read.",
)
@option("--seed", type=click.IntRange(0), default=0, help="Seed that chooses the photos.")
@option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def doctor(
    context: click.Context,
    path: Path,
    records: Path | None,
    encoder: Path | None,
    photos: int,
    train_photos: int,
    seed: int,
    as_json: bool,
) -> None:
    """Looks for the reasons why captions are all alike, or bad.

    Each check has a verdict (fine, look, wrong), a figure with what is expected of it, and a next step. What cannot be
    checked is said with what to give. Nothing is written. The exit status is 1 if something is wrong, 2 if what was
    given cannot be read, else 0.

    \b
    Examples:
      showtell-train doctor runs/captioner
      showtell-train doctor my-bundle --records runs/records --photos 200
      showtell-train doctor runs/records --json
    """  # noqa: D301 - \b tells click not to wrap
    try:
        report = _examined(path, records, encoder, photos=photos, train_photos=train_photos, seed=seed)
    except click.ClickException as error:
        raise _UnreadableError(error.message) from error
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=1))
    else:
        _print(report)
    context.exit(report.exit_status)


@reported
def _examined(path: Path, records: Path | None, encoder: Path | None, **amounts: int) -> "Report":
    from training.doctor.examination import examine
    from training.doctor.gathering import Amounts

    return examine(path, records=records, encoder=encoder, amounts=Amounts(**amounts))


def _print(report: "Report") -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=WIDTH)
    console.print(_table(report))
    for finding in report.findings:
        if finding.verdict in ("look", "wrong"):
            console.print(f"{finding.verdict}: {finding.check}: {finding.next_step}", soft_wrap=True)
    lacking: dict[tuple[str, str], list[str]] = {}
    for finding in report.findings:
        if finding.verdict == "not done":
            lacking.setdefault((finding.text, finding.next_step), []).append(finding.check)
    for (reason, give), checks in lacking.items():
        console.print(f"not done: {', '.join(checks)}: {reason}; {give}", soft_wrap=True)
    console.print(report.about(), soft_wrap=True)
    console.print(report.summary(), soft_wrap=True)


def _table(report: "Report") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from training.doctor.verdicts import amount

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("check", "verdict", "figure", "fine", "counted on"):
        table.add_column(heading, justify="right" if heading == "figure" else "left", overflow="fold")
    for finding in report.findings:
        if finding.value is None:
            continue
        verdict = Text(finding.verdict, style=_COLOURS[finding.verdict])
        value = amount(finding.value, finding.bounds.unit)
        table.add_row(finding.check, verdict, value, finding.bounds.fine, finding.text)
    return table
