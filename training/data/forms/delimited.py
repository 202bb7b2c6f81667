"""CSV and its relatives: any delimiter, quoting or none, with a header or without."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from model.image import SUFFIXES
from training.data.forms.rows import fields_among

RECORD_LINES = 20
"""Most lines of a record; a quote that opens and does not close within them is a letter like any other."""

_LIKELY = (",", "\t", ";", "|")
_PHOTO = re.compile(
    rf"\"?[^\n]*?(?:{'|'.join(re.escape(suffix) for suffix in sorted(SUFFIXES))})\"?([,\t;|])", re.IGNORECASE
)


class Dialect(NamedTuple):
    """How a table is written.

    Attributes:
        delimiter: What parts fields.
        names: Names of the fields.
        header: Whether the first record has the names.
    """

    delimiter: str
    names: tuple[str, ...]
    header: bool


def dialect_of(text: str) -> Dialect | None:
    """Returns how a table is written; None where a text is no table with photos and captions.

    The delimiter is the first by which the header has a photo and a caption among its fields. A table without header
    has a photo's name in front of each line.
    """
    first = next((line for line in text.splitlines() if line.strip()), "")
    signs = [
        sign for sign in dict.fromkeys(first) if sign.isprintable() and not sign.isalnum() and sign not in " \"'_-."
    ]
    for delimiter in [*(sign for sign in _LIKELY if sign in first), *(sign for sign in signs if sign not in _LIKELY)]:
        names = _unique(_fields(first, delimiter))
        if fields_among(names):
            return Dialect(delimiter, names, header=True)
    match = _PHOTO.match(first)
    if match is None:
        return None
    fields, _ = _record([first], match[1])
    return Dialect(match[1], ("image", *(f"field {n}" for n in range(2, len(fields))), "caption"), header=False)


def rows_of(text: str, dialect: Dialect) -> Iterator[tuple[int, dict[str, object] | list[str]]]:
    """Yields the line and the fields by name of each record; a plain list where their number is wrong."""
    lines = list(io.StringIO(text, newline=""))
    start = 0
    skip = dialect.header
    while start < len(lines):
        fields, used = _record(lines[start : start + RECORD_LINES], dialect.delimiter)
        number = start + 1
        start += used
        if not any(field.strip() for field in fields):
            continue
        if skip:
            skip = False
        elif len(fields) == len(dialect.names):
            yield number, dict(zip(dialect.names, fields, strict=True))
        else:
            yield number, fields


def _record(lines: Sequence[str], delimiter: str) -> tuple[list[str], int]:
    """Returns the fields of the first record and the number of its lines.

    A line whose quotes are not those of a table is parted as if they were letters.
    """
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        return next(reader), reader.line_num
    except csv.Error:
        return _fields(lines[0], delimiter), 1


def _fields(line: str, delimiter: str) -> list[str]:
    return line.rstrip("\r\n").split(delimiter)


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """Returns names without quotes and space around them, each once."""
    found: list[str] = []
    for index, name in enumerate(names):
        plain = name.strip().strip("\"'").strip()
        found.append(plain if plain and plain not in found else f"field {index + 1}")
    return tuple(found)
