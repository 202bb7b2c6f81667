"""One table of all photos: JSON lines, CSV or Parquet, written whole from the journal."""

import csv
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from model.atomic import atomic_file
from model.errors import LibraryError
from model.library.rows import Row, flat

TABLES = ("csv", "jsonl", "parquet")
"""Kinds of tables."""

_GROUP_ROWS = 5000


def check_table(kind: str) -> None:
    """Makes sure that a kind of table can be written here.

    Raises:
        LibraryError: pyarrow is not installed.
    """
    if kind == "parquet":
        _pyarrow()


def write_table(kind: str, rows: Iterable[Row], path: Path, *, captions: int) -> None:
    """Writes a table, which appears whole or not at all.

    Args:
        kind: One of `TABLES`.
        rows: Of all photos.
        path: Its file.
        captions: How many captions have columns of their own in a CSV.

    Raises:
        OSError: It cannot be written; the one that was there stays.
    """
    with atomic_file(path) as temporary:
        if kind == "parquet":
            _write_parquet(rows, temporary)
        elif kind == "csv":
            _write_csv(rows, temporary, captions)
        else:
            with temporary.open("w", encoding="ascii") as file:
                file.writelines(f"{json.dumps(row)}\n" for row in rows)


def _write_csv(rows: Iterable[Row], path: Path, captions: int) -> None:
    empty: Row = {"captions": [], "classes": [], "file": "", "width": 0, "height": 0, "sha256": "", "error": None}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(name for name, _ in flat(empty, captions))
        writer.writerows([value for _, value in flat(row, captions)] for row in rows)


def _write_parquet(rows: Iterable[Row], path: Path) -> None:
    arrow = _pyarrow()
    from pyarrow import parquet

    schema = parquet_schema()
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _groups(rows):
            writer.write_table(arrow.Table.from_pylist(group, schema=schema))


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while group := list(islice(remaining, _GROUP_ROWS)):
        yield group


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        needed = (
            "expected pyarrow for Parquet, found none; install it with: pip install 'show-and-tell-server[parquet]'"
        )
        raise LibraryError(needed) from error
    return pa


def parquet_schema() -> Any:
    """Returns the schema of the rows, for pyarrow.

    It is given, not guessed: a column without any value would have no type, and the table no reader.

    Raises:
        LibraryError: pyarrow is not installed.
    """
    arrow = _pyarrow()
    text = arrow.string()
    number = arrow.float64()
    word = arrow.struct([("text", text), ("probability", number)])
    caption = arrow.struct(
        [
            ("text", text), ("log_probability", number), ("probability", number), ("score", number),
            ("words", arrow.list_(word)),
        ]
    )  # fmt: skip
    label = arrow.struct([("id", text), ("label", text), ("probability", number)])
    return arrow.schema(
        [
            ("file", text), ("sha256", text), ("width", arrow.int32()), ("height", arrow.int32()),
            ("captions", arrow.list_(caption)), ("classes", arrow.list_(label)), ("error", text),
        ]
    )  # fmt: skip
