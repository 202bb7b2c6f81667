"""Finds the photos that a source names."""

import contextlib
import os
import posixpath
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from model.image import SUFFIXES

_SUBFOLDERS = (
    "", "images", "Images", "photos", "Flicker8k_Dataset", "Flickr8k_Dataset", "flickr30k_images", "flickr30k-images",
)  # fmt: skip
"""Where photos lie beside captions, in the usual layouts."""

_ADDRESSES = ("http:", "https:", "s3:", "gs:", "data:")


class Photos:
    """The places of a source's photos.

    Args:
        source: File or directory with the captions.
        photos: Folder of the photos, searched recursively where a path leads to none; None for the usual places.
    """

    def __init__(self, source: Path, photos: Path | None) -> None:
        self._photos = photos
        # A file of captions may lie in a folder beside those of the photos, as COCO's do.
        roots = [source] if source.is_dir() else [source.parent, source.parent.parent]
        self._folders = [root / name for root in roots for name in _SUBFOLDERS]
        self._spellings: dict[Path, set[str]] = defaultdict(set)
        self._known: dict[tuple[str, tuple[Path, ...]], tuple[Path, bool]] = {}

    @property
    def respelled(self) -> int:
        """The number of further ways in which paths of the same photos were written."""
        return sum(len(texts) - 1 for texts in self._spellings.values())

    def find(self, text: str, folders: tuple[Path, ...] = ()) -> tuple[Path, bool]:
        """Returns the path of a photo, and whether it is there; else the first path that was tried.

        Args:
            text: The path as it is written in the source.
            folders: Folders to look in first.
        """
        if (text, folders) not in self._known:
            self._known[text, folders] = self._search(text, folders)
        return self._known[text, folders]

    def _search(self, text: str, folders: tuple[Path, ...]) -> tuple[Path, bool]:
        tried = None
        for path in self._candidates(text, folders):
            tried = tried or path
            if _is_file(path):
                self._spellings[path].add(text)
                return path, True
        return tried or Path(text), False

    def _candidates(self, text: str, folders: tuple[Path, ...]) -> Iterator[Path]:
        """Yields where a photo may be, the likeliest first."""
        relative = text.replace("\\", "/")
        given = [self._photos] if self._photos is not None else []
        for folder in [*folders, *given, *self._folders]:
            for written in dict.fromkeys((text, relative)):
                yield Path(os.path.normpath(folder / written))
        if self._photos is not None:
            name = posixpath.basename(relative)
            yield self._photos / name
            found = self._below.get(name, [])
            if len(found) == 1:  # of several, none can be told to be the one
                yield found[0]

    @cached_property
    def _below(self) -> dict[str, list[Path]]:
        """The photos below the given folder, by their names with and without suffix."""
        found: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(self._photos.rglob("*")) if self._photos is not None else ():
            if path.suffix.lower() in SUFFIXES:
                found[path.name].append(path)
                found[path.stem].append(path)
        return found


def why_no_photo(value: object) -> str:
    """Returns what was expected in place of a value that can be no photo's path; empty for one that can."""
    if not isinstance(value, str) or not value.strip():
        return "expected a photo's file name"
    if value.strip().lower().startswith(_ADDRESSES):
        return "expected a photo's file, found an address; download the photos first"
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return "expected a photo's file name"
    return "expected a photo's file name" if "\0" in value else ""


def _is_file(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):  # a name that is too long
        return path.is_file()
    return False
