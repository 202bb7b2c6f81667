"""What is done with each batch of photos: tasks read them, actors caption them, and one more actor counts."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from model.config import IMAGE_PIXELS
from model.engines.choice import EngineName
from model.library.names import text_of
from model.library.photos import ReadPhoto, read_photo
from model.library.pipeline import caption_batch
from model.library.rows import row_of
from model.library.stores import read_anywhere
from model.library.tables import parquet_schema
from model.options import Search

ID = "file"
"""The column that tells one photo from another: in the table, and in Ray's checkpoints."""

READERS = 4
"""Photos that a task reads at once: a store takes long to answer."""

Failure = tuple[str, str]
"""A photo that failed, and why."""

_PATH = "path"
"""The column with the path itself, in bytes: a name need not be text."""

_NAMES = pa.schema([(ID, pa.string()), (_PATH, pa.binary())])

_READ = pa.schema(
    [
        (ID, pa.string()), ("sha256", pa.string()), ("width", pa.int32()), ("height", pa.int32()),
        ("error", pa.string()), ("pixels", pa.binary()),
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is done with each photo.

    Attributes:
        bundle: What captions; there on every machine.
        engine: Runs the model.
        search: How captions are searched.
        captions: Captions per photo.
        classes: Classes per photo.
        max_pixels: Largest width times height.
    """

    bundle: Path
    engine: EngineName
    search: Search
    captions: int
    classes: int
    max_pixels: int


def names_table(photos: Sequence[str]) -> pa.Table:
    """Returns the names of photos as rows."""
    names = {ID: [text_of(photo) for photo in photos], _PATH: [os.fsencode(photo) for photo in photos]}
    return pa.table(names, schema=_NAMES)


def read_photos(names: pa.Table, max_pixels: int) -> pa.Table:
    """Reads and decodes a batch of photos.

    Args:
        names: From `names_table`.
        max_pixels: Largest width times height.

    Returns:
        Rows with pixels, or with the reason why there are none.
    """
    read = partial(read_photo, max_pixels=max_pixels, known=lambda _: "", read=read_anywhere)
    paths = [os.fsdecode(path) for path in names[_PATH].to_pylist()]
    with ThreadPoolExecutor(READERS) as readers:
        rows = [_packed(photo) for photo in readers.map(read, paths)]
    return pa.Table.from_pylist(rows, schema=_READ)


class Captions:
    """A captioner, as an actor.

    Args:
        work: What it does.
        threads: How many threads it has.
        tally: Counts what is done.
    """

    def __init__(self, work: Work, threads: int, tally: Any) -> None:
        # Imported here: the engine takes seconds to load, and only the actors need it.
        from model.captioner import Captioner

        captioner = Captioner.load(work.bundle, engine=work.engine, threads=threads)
        self._predict = partial(captioner.predict, search=work.search, captions=work.captions, classes=work.classes)
        self._tally = tally

    def __call__(self, photos: pa.Table) -> pa.Table:
        """Returns the rows of a batch from `read_photos`, as they are in the table."""
        rows = [row_of(done) for done in caption_batch([_unpacked(row) for row in photos.to_pylist()], self._predict)]
        self._tally.add.remote(len(rows), [(row["file"], row["error"]) for row in rows if row["error"]])
        return pa.Table.from_pylist(rows, schema=parquet_schema())


class Tally:
    """What the captioners have done since the last look, as an actor."""

    def __init__(self) -> None:
        self._done = 0
        self._failures: list[Failure] = []

    def add(self, done: int, failures: Sequence[Failure]) -> None:
        """Counts photos, and notes those that failed."""
        self._done += done
        self._failures += failures

    def take(self) -> tuple[int, list[Failure]]:
        """Returns how many were done, and which failed, since the last call."""
        taken = (self._done, self._failures)
        self._done = 0
        self._failures = []
        return taken


def _packed(photo: ReadPhoto) -> dict[str, Any]:
    return {
        ID: text_of(photo.path), "sha256": photo.sha256, "width": photo.width, "height": photo.height,
        "error": photo.error, "pixels": None if photo.pixels is None else photo.pixels.tobytes(),
    }  # fmt: skip


def _unpacked(row: dict[str, Any]) -> ReadPhoto:
    data = row["pixels"]
    pixels = None if data is None else np.frombuffer(data, np.uint8).reshape(IMAGE_PIXELS, IMAGE_PIXELS, 3)
    return ReadPhoto(
        path=row[ID], pixels=pixels, width=row["width"], height=row["height"], sha256=row["sha256"], error=row["error"]
    )
