"""`showtell-train score`: scores of captions files, and whether one is better than another by more than chance."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.commands.options import EXISTING, option, reported
from training.data.captioned import SPLITS

if TYPE_CHECKING:
    from rich.table import Table

    from training.scoring.score import ScoreReport

WIDTH = 120
"""Columns of the table where nobody says how wide the terminal is."""


@click.command()
@click.argument("captions", type=EXISTING, nargs=-1, required=True)
@option(
    "--references",
    type=EXISTING,
    required=True,
    help="What people wrote: COCO's annotations, JSON lines, CSV, or records from `prepare`.",
)
@option("--split", type=click.Choice(SPLITS), default="dev", help="Which photos of records.")
@option("--common", is_flag=True, help="Score only the images that all files have; else missing ones are an error.")
@option(
    "--tokenizer",
    type=click.Choice(["ptb", "showtell"]),
    help="`ptb` is used for published scores of English and needs Java. Default: ptb for English if Java is installed, "
    "else showtell.",
)
@option(
    "--language",
    help="The captions' language, such as en or de; the tokenizer ptb, METEOR and SPICE are for English. Default: that "
    "of records, or English if frequent words of English are among the references.",
)
@option("--samples", type=click.IntRange(100, 100_000), default=1000, help="Samples of the bootstrap.")
@option("--seed", type=click.IntRange(0), default=0, help="Seed of the bootstrap.")
@option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@reported
def score(
    captions: tuple[Path, ...],
    references: Path,
    split: str,
    common: bool,
    tokenizer: str | None,
    language: str | None,
    samples: int,
    seed: int,
    as_json: bool,
) -> None:
    """Scores a captions file, or compares two: BLEU-1 to 4, METEOR, ROUGE-L, CIDEr, SPICE, and how varied they are.

    CAPTIONS is JSON in the form of COCO's results, JSON lines, CSV, or what `showtell --json` prints. Of two files,
    each difference has the interval that holds 95 % of the samples of a paired bootstrap: where 0 is in it, chance of
    the images could explain the difference. METEOR and SPICE need Java, and SPICE its parser; what is left out is said.

    \b
    Examples:
      showtell-train score captions.json --references annotations/captions_val2017.json
      showtell-train evaluate my-bundle --records runs/records --captions mine.json
      showtell-train score before.json mine.json --references runs/records
    """  # noqa: D301 - \b tells click not to wrap
    from training.scoring.score import score_files

    if len(captions) > 2:
        raise click.UsageError(f"expected one captions file or two to compare, received {len(captions)}")
    report = score_files(
        captions, references, split=split, common=common, tokenizer=tokenizer, samples=samples, seed=seed,
        language=language,
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=1))
        return
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=WIDTH)
    console.print(_table(report))
    for note in report.notes():
        click.echo(note)


def _table(report: "ScoreReport") -> "Table":
    from rich import box
    from rich.table import Table

    from training.scoring.score import COUNTS

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for name in _short(list(report.files)):
        table.add_column(name, justify="right", overflow="fold")
    if report.differences:
        for heading in ("difference", "95 % interval", ""):
            table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    tables = list(report.files.values())
    for metric in tables[0]:
        digits = 0 if metric.startswith(COUNTS) else 2
        cells = [f"{scores[metric]:.{digits}f}" for scores in tables]
        if len(tables) == 2:
            cells += _difference_cells(report, metric, tables[1][metric] - tables[0][metric], digits)
        table.add_row(metric, *cells)
    return table


def _difference_cells(report: "ScoreReport", metric: str, value: float, digits: int) -> list[str]:
    found = report.differences.get(metric)
    if found is None:
        return [f"{value:+.{digits}f}", "", ""]
    return [f"{found.value:+.2f}", f"{found.low:+.2f} to {found.high:+.2f}", found.verdict]


def _short(names: list[str]) -> list[str]:
    """Returns the files' names without their directories, unless they are the same then."""
    short = [Path(name).name for name in names]
    return short if len(set(short)) == len(short) else names
