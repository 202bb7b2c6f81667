"""Tables of photos and captions: CSV and its relatives, JSON lines, JSON arrays, and folders that hold one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model.errors import DataError
from model.image import SUFFIXES
from training.data.forms.delimited import dialect_of, rows_of
from training.data.forms.form import Entry, Form, Reading, files_in, one_of
from training.data.forms.rows import entries, fields_among, header_of
from training.data.forms.splits import Lists, split_in
from training.data.forms.text import parse

EXPECTS = "the columns image and caption, a JSON object a line, or a JSON array of objects"

_PATTERNS = ("*.csv", "*.tsv", "*.psv", "*.jsonl", "*.ndjson", "*.json", "captions.txt")


def sign_of_table(file: Path, reading: Reading) -> str | None:
    """Returns why a file is a table of photos and captions; None where it is none.

    Raises:
        DataError: It cannot be read as text, or is JSON that is not whole.
    """
    objects = _objects(file, reading)
    if objects is not None:
        first = next((value for _, value in objects if isinstance(value, dict)), None)
        fields = None if first is None else fields_among(tuple(first))
        return None if fields is None else f"{file.name} has objects with {fields.photo!r} and {fields.captions[0]!r}"
    dialect = dialect_of(reading.text(file))
    fields = None if dialect is None else fields_among(dialect.names)
    if dialect is None or fields is None:
        return None
    kind = "the columns" if dialect.header else "no header, and in its columns"
    return f"{file.name} has {kind} {fields.photo!r} and {fields.captions[0]!r}, parted by {dialect.delimiter!r}"


def rows_of_table(file: Path, reading: Reading) -> Iterator[tuple[str, object]]:
    """Yields place and value of each row of a table.

    Raises:
        DataError: It cannot be read as text, or is JSON that is not whole.
    """
    objects = _objects(file, reading)
    dialect = dialect_of(reading.text(file)) if objects is None else None
    if objects is not None:
        for place, value in objects:
            yield f"{file}, {place}", value
    elif dialect is not None:
        for number, row in rows_of(reading.text(file), dialect):
            if isinstance(row, dict):
                yield f"{file}, line {number}", row
            else:
                why = f"expected {len(dialect.names)} fields; put captions with {dialect.delimiter!r} in quotes"
                reading.report.leave_out_record(f"{file}, line {number}", why, row)


def _objects(file: Path, reading: Reading) -> Iterator[tuple[str, object]] | None:
    """Returns place and value of each object of a JSON file; None for another file."""
    if not reading.text(file).lstrip().startswith(("{", "[")):
        return None
    document = reading.document(file)
    if document is not None:
        return ((f"item {index}", value) for index, value in enumerate(_rows_in(document)))
    return _lines(reading.text(file))


def _rows_in(document: Any) -> list[object]:
    """Returns the rows of a JSON value: an array, one within an object, captions by photo, or a single row."""
    if not isinstance(document, dict):
        return list(document)
    if document and all(Path(name).suffix.lower() in SUFFIXES for name in document):
        return [{"image": name, "caption": captions} for name, captions in document.items()]
    # With `images` it is Karpathy's or COCO's.
    arrays = (value for value in document.values() if isinstance(value, list) and value and "images" not in document)
    return next((array for array in arrays if _is_row(array[0])), [document])


def _is_row(value: object) -> bool:
    return isinstance(value, dict) and fields_among(tuple(value)) is not None


def _lines(text: str) -> Iterator[tuple[str, object]]:
    # A line of JSON ends with \n alone: other separators may stand in its strings.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"line {number}", parse(line)
            except ValueError:
                yield f"line {number}", line


def _tables_in(path: Path, reading: Reading) -> list[tuple[Path, str]]:
    """Returns the tables that a path is or holds, and why each is one."""
    found = []
    for file in files_in(path, *_PATTERNS):
        try:
            why = sign_of_table(file, reading)
        except DataError:
            if path.is_file():
                raise
            continue
        if why is not None:
            found.append((file, why))
    return found


def _sign(path: Path, reading: Reading) -> str | None:
    return next((why for _, why in _tables_in(path, reading)), None)


def _read(path: Path, reading: Reading) -> Iterator[Entry]:
    files = [file for file, _ in _tables_in(path, reading)]
    if any(split_in(file.stem) is None for file in files):
        files = [one_of(path, files)]
    lists = Lists(path)
    for file in files:
        split = split_in(file.stem)
        for entry in entries(rows_of_table(file, reading), reading.report, split=split):
            yield entry._replace(split=lists.split(str(entry.photo))) if lists and entry.split is None else entry
    for listed, name in lists.unused():
        reading.report.leave_out_record(listed, "listed without captions", name)


def header(path: Path, reading: Reading) -> str:
    """Returns the first line's fields of a file that is no table, for a message; empty where it has none."""
    first = next((line for line in reading.text(path).splitlines() if line.strip()), "")
    return header_of(first.split(",")) if first else ""


TABLE = Form(name="csv", title="a table", expects=EXPECTS, sign=_sign, read=_read)
