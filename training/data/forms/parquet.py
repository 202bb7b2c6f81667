"""Parquet with photos in it, as Hugging Face `datasets` and img2dataset write it; needs the extra `parquet`."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from model.errors import DataError
from training.data.forms.form import Entry, Form, Reading, files_in
from training.data.forms.rows import Fields, entries, fields_among, header_of
from training.data.forms.splits import split_of_file

EXPECTS = "train-00000-of-00001.parquet with the columns image and caption"

_PATTERNS = ("*.parquet", "*/*.parquet", "*/*/*.parquet")
_GROUPS = 8
"""Groups of rows that are kept in memory, one for each thread that writes records."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A photo in a Parquet file.

    Attributes:
        file: The file.
        column: Name of its column.
        group: Its group of rows.
        row: Its row in the group.
        size: Number of its bytes.
    """

    file: Path
    column: str
    group: int
    row: int
    size: int

    def read_bytes(self) -> bytes:
        """Returns the photo's bytes.

        Raises:
            OSError: The file cannot be read.
        """
        return bytes(_column(self.file, self.column, self.group)[self.row].as_py())


@lru_cache(maxsize=_GROUPS)
def _column(file: Path, column: str, group: int) -> Any:
    import pyarrow as pa

    try:
        values = _open(file).read_row_group(group, columns=[column]).column(0).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise OSError(f"{file}: expected whole Parquet: {error}") from error
    return values.field("bytes") if pa.types.is_struct(values.type) else values


def _open(file: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(file)


def rows_of_parquet(file: Path) -> Iterator[tuple[str, object, Cell | None]]:
    """Yields place, values by column and photo of each row; the photo is None where the file has only its path.

    Raises:
        DataError: pyarrow is not installed, the file is damaged, or has no photos with captions.
    """
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        raise DataError(
            f"{file}: expected pyarrow to read Parquet, found it not installed; install it with "
            "`pip install '.[training,parquet]'` in the project's directory"
        ) from error
    try:
        content = _open(file)
        fields = fields_among(tuple(content.schema_arrow.names))
        if fields is None:
            names = header_of(content.schema_arrow.names)
            raise DataError(f"{file}: expected the columns image and caption, found {names}")
        for group in range(content.num_row_groups):
            yield from _group(file, content, fields, group)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: expected whole Parquet, received: {' '.join(str(error).split())}") from error


def _group(file: Path, content: Any, fields: Fields, group: int) -> Iterator[tuple[str, object, Cell | None]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [*fields.captions, *([fields.split] if fields.split else [])]
    others = content.read_row_group(group, columns=names).to_pylist()
    kind = content.schema_arrow.field(fields.photo).type
    photos = content.read_row_group(group, columns=[fields.photo]).column(0).combine_chunks()
    is_struct = pa.types.is_struct(kind)
    if is_struct:
        paths = photos.field("path").to_pylist() if kind.get_field_index("path") >= 0 else [None] * len(photos)
        photos = photos.field("bytes")
    is_bytes = is_struct or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    sizes = pc.binary_length(photos).to_pylist() if is_bytes else [None] * len(others)
    written = paths if is_struct else [None] * len(others) if is_bytes else photos.to_pylist()
    for row, (values, size, path) in enumerate(zip(others, sizes, written, strict=True)):
        cell = None if size is None else Cell(file, fields.photo, group, row, size)
        name = path if cell is None or path else f"{file.stem}-{group}-{row}"
        yield f"{file}, row {row} of group {group}", {**values, fields.photo: name}, cell


def read_parquet(file: Path, reading: Reading, split: str | None) -> Iterator[Entry]:
    """Yields the photos of a Parquet file.

    Args:
        file: The file.
        reading: Gets what is left out.
        split: Split of rows that name none.

    Raises:
        DataError: See `rows_of_parquet`.
    """
    for where, row, cell in rows_of_parquet(file):
        for entry in entries([(where, row)], reading.report, split=split):
            yield entry if cell is None else entry._replace(part=cell, folders=(file,))


def _files(path: Path) -> list[Path]:
    """Returns the Parquet files, without img2dataset's list of what it downloaded beside each shard."""
    return [
        file for file in files_in(path, *_PATTERNS)
        if path.is_file() or not (file.with_suffix(".tar").exists() or file.with_suffix("").is_dir())
    ]  # fmt: skip


def _sign(path: Path, _reading: Reading) -> str | None:
    for file in _files(path):
        with file.open("rb") as content:
            if content.read(4) == b"PAR1":
                return f"{file.name} is Parquet"
    return None


def _read(path: Path, reading: Reading) -> Iterator[Entry]:
    for file in _files(path):
        yield from read_parquet(file, reading, split_of_file(file, path))


PARQUET = Form(name="parquet", title="Parquet", expects=EXPECTS, sign=_sign, read=_read)
