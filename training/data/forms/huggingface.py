"""Folders of Hugging Face `datasets`: photos with a `metadata.jsonl` in the same or a split's folder."""

from collections.abc import Iterator
from pathlib import Path

from training.data.forms.form import Entry, Form, Reading, files_in
from training.data.forms.parquet import read_parquet
from training.data.forms.rows import entries
from training.data.forms.splits import split_of_file
from training.data.forms.tables import rows_of_table

EXPECTS = "metadata.jsonl, .csv or .parquet with `file_name` and a caption, beside the photos"

_PATTERNS = tuple(f"{below}metadata.{suffix}" for below in ("", "*/", "*/*/") for suffix in ("jsonl", "csv", "parquet"))


def _sign(path: Path, _reading: Reading) -> str | None:
    files = files_in(path, *_PATTERNS) if path.is_dir() else []
    return f"{files[0].relative_to(path)} lies beside photos" if files else None


def _read(path: Path, reading: Reading) -> Iterator[Entry]:
    for file in files_in(path, *_PATTERNS):
        split = split_of_file(file, path)
        if file.suffix == ".parquet":
            yield from (entry._replace(folders=(file.parent,)) for entry in read_parquet(file, reading, split))
        else:
            rows = rows_of_table(file, reading)
            yield from entries(rows, reading.report, split=split, folders=(file.parent,))


HUGGINGFACE = Form(name="huggingface", title="a Hugging Face folder", expects=EXPECTS, sign=_sign, read=_read)
