"""Photos with captions; no framework."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model.errors import DataError
from model.image import SUFFIXES

SPLITS = ("train", "dev", "test")
"""Parts of a data set. `test` is kept apart: `evaluate` alone reads it."""


class Part(Protocol):
    """A photo's bytes within a larger file."""

    @property
    def size(self) -> int:
        """The number of bytes."""

    def read_bytes(self) -> bytes:
        """Returns them.

        Raises:
            OSError: They cannot be read.
        """


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """A photo with all its captions.

    Attributes:
        path: The image file; of a part of a larger file, that file's path and the photo's name in it.
        name: Its name within the collection, unique there.
        captions: Its sentences, at least one.
        split: `train`, `dev` or `test`.
        part: Where its bytes are, if not in a file of their own.
    """

    path: Path
    name: str
    captions: tuple[str, ...]
    split: str
    part: Part | None = None

    def read_bytes(self) -> bytes:
        """Returns the photo's bytes.

        Raises:
            OSError: The file cannot be read.
        """
        return self.path.read_bytes() if self.part is None else self.part.read_bytes()


def find_photos(folders: Sequence[Path], exclude: frozenset[str] = frozenset()) -> list[Path]:
    """Lists the photos below the folders, sorted within each; a folder named twice counts twice.

    Args:
        folders: Directories, searched recursively.
        exclude: File names to leave out, so that photos kept for scoring are not trained on.

    Returns:
        Paths of files with a photo's suffix.

    Raises:
        DataError: A folder is missing, or there is no photo in any.
    """
    photos: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: expected a directory of photos, found none; check the path")
        photos += sorted(
            p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file() and p.name not in exclude
        )
    if not photos:
        raise DataError(
            f"expected photos ({', '.join(sorted(SUFFIXES))}) below {', '.join(map(str, folders))}, found none"
        )
    return photos


def split_of(name: str, dev_fraction: float) -> str:
    """Returns `train` or `dev` by a hash of the name, so that more photos later do not move those already assigned.

    Args:
        name: Name of an image within its collection.
        dev_fraction: Share of the names put in dev, 0 to 1.
    """
    draw = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64
    return "dev" if draw < dev_fraction else "train"


def read_lines(path: Path) -> list[str]:
    """Returns the lines of a UTF-8 text file that are not blank, stripped.

    Raises:
        DataError: The file is missing or not UTF-8.
    """
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a UTF-8 text file: {error}") from error
