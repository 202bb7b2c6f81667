"""Rows of a table, whatever wrote it: which field is the photo, which the captions, which the split."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from training.data.forms.form import Entry
from training.data.forms.report import Report
from training.data.forms.sentences import CAPTION_NAMES

PHOTO_NAMES = (
    "image", "file_name", "filename", "image_name", "image_path", "img_path", "filepath", "file_path", "image_file",
    "file", "path", "img", "photo", "jpg", "png", "name", "image_id",
)  # fmt: skip
"""Names of a field that holds a photo, the likeliest first."""

_SPLIT_NAMES = ("split", "partition", "subset", "set")
_NUMBERED = re.compile(r"(caption|text|sentence|comment|description)s?[ _-]?\d+")


class Fields(NamedTuple):
    """The names of the fields that are read.

    Attributes:
        photo: The photo's.
        captions: The captions'; several if they are numbered.
        split: The split's; None where there is none.
    """

    photo: str
    captions: tuple[str, ...]
    split: str | None


@lru_cache(maxsize=1024)
def fields_among(names: tuple[str, ...]) -> Fields | None:
    """Returns which of a table's fields are read; None where a photo's or a caption's is not among them."""
    plain = {name.strip().lower(): name for name in reversed(names)}
    photo = next((plain[name] for name in PHOTO_NAMES if name in plain), None)
    one = next((plain[name] for name in CAPTION_NAMES if name in plain), None)
    captions = tuple(name for name in names if _NUMBERED.fullmatch(name.strip().lower()))
    captions = (() if one is None else (one,)) + captions
    if photo is None or not captions:
        return None
    return Fields(photo, captions, next((plain[name] for name in _SPLIT_NAMES if name in plain), None))


def entries(
    rows: Iterable[tuple[str, object]], report: Report, *, split: str | None = None, folders: tuple[Path, ...] = ()
) -> Iterator[Entry]:
    """Yields the photos of a table's rows.

    Args:
        rows: Place and value of each row.
        report: Gets the rows that have no photo or no caption.
        split: Split of rows that name none.
        folders: Folders in which photos are looked for first.
    """
    for where, row in rows:
        fields = fields_among(tuple(row)) if isinstance(row, Mapping) and all(isinstance(k, str) for k in row) else None
        if fields is None or not isinstance(row, Mapping):
            report.leave_out_record(where, "expected a photo and a caption", row)
            continue
        captions = [row[name] for name in fields.captions]
        named = row[fields.split] if fields.split else None
        yield Entry(
            row[fields.photo], captions[0] if len(captions) == 1 else captions, where,
            split if named in (None, "") else named, folders,
        )  # fmt: skip


def header_of(names: Iterable[str]) -> str:
    """Returns the names of a table's fields for a message."""
    return ", ".join(repr(name.strip()[:30]) for name in list(names)[:8])
