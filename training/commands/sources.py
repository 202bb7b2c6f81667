"""The sources of captions that `prepare` takes: the options of reading them, and what is said about them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from training.commands.options import ANY, option
from training.data.captioned import SPLITS, CaptionedImage
from training.data.forms.collect import read_captions
from training.data.forms.form import Reading
from training.data.forms.known import FORMS

KINDS = {**{name: name for name in FORMS}, "tsv": "csv"}
"""Names of forms on the command line, with that of the form: a folder with `captions.tsv` is a table too."""

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
READING = (
    option("--photos", type=_FOLDER, help="Folder of the photos, searched recursively, if SOURCE names only files."),
    option("--encoding", help="Encoding of texts, such as latin-1. Default: UTF-8, UTF-16 or UTF-32, by their bytes."),
    option("--year", type=click.IntRange(2000, 2100), help="Year of COCO. Default: the one that SOURCE has."),
    option("--report", type=ANY, help="File for a line about each caption and record that is left out."),
)
"""Options of reading captions."""


def read_source(
    source: Path, kind: str | None = None, *, dev_fraction: float, report: Path | None = None, label: str = "",
    **options: Any,
) -> list[CaptionedImage]:  # fmt: skip
    """Reads photos with captions, and prints what was found and what was left out.

    Args:
        source: A file or directory.
        kind: Name of its form; None to find it out.
        dev_fraction: Share of the photos put in dev where the source has none.
        report: File for what is left out.
        label: Put in front of each printed line.
        options: Fields of `Reading`.

    Raises:
        DataError: Nothing in it can be used, or its form is unknown or another.
    """
    reading = Reading(**options)
    try:
        collected = read_captions(source, kind, dev_fraction=dev_fraction, reading=reading)
    finally:
        if report is not None:
            reading.report.write(report)
    for line in collected.summary():
        click.echo(label + line)
    if reading.report.lines and report is None:
        click.echo(f"{label}list what is left out with --report FILE")
    return collected.images


def reader_of(kind: str) -> Callable[..., list[CaptionedImage]]:
    """Returns the reader of one form, by its name on the command line."""

    def read(source: Path, **options: Any) -> list[CaptionedImage]:
        return read_source(source, KINDS[kind], **options)

    return read


def print_counts(images: list[CaptionedImage]) -> None:
    """Prints how many photos and captions each split has."""
    for split in SPLITS:
        captions = [len(image.captions) for image in images if image.split == split]
        if captions or split != "test":
            click.echo(f"{split}: {len(captions)} photos, {sum(captions)} captions")


class Given(NamedTuple):
    """A source as `prepare mix` takes it.

    Attributes:
        name: Its name in scores and weights.
        kind: Its form; None to find it out.
        path: A file or directory.
        weight: How much each of its captions counts; None where that was not said.
    """

    name: str
    kind: str | None
    path: Path
    weight: float | None


def read_given(text: str) -> Given:
    """Reads `[NAME=][KIND:]PATH[*WEIGHT]`.

    Raises:
        BadParameter: It is not that, or its path does not exist.
    """
    rest, weight = _weighed(text)
    name, source = _cut(rest, "=")
    kind, path = _cut(source, ":")
    if kind not in (None, *KINDS) or name == "" or not Path(path).exists():
        raise click.BadParameter(
            f"expected [NAME=][KIND:]PATH[*WEIGHT] with a PATH that exists and a KIND of {', '.join(KINDS)}, "
            f"received {text!r}",
            param_hint="SOURCES",
        )
    return Given(name or Path(path).resolve().stem, None if kind is None else KINDS[kind], Path(path), weight)


def _cut(text: str, sign: str) -> tuple[str | None, str]:
    """Returns what stands before a sign and behind it; None and all where there is no sign, or all is a path."""
    before, found, behind = text.partition(sign)
    return (None, text) if not found or Path(text).exists() else (before, behind)


def _weighed(text: str) -> tuple[str, float | None]:
    """Returns a source's text without its weight, and that."""
    rest, star, number = text.rpartition("*")
    if not star or Path(text).exists():
        return text, None
    try:
        return rest, float(number)
    except ValueError:
        return text, None
