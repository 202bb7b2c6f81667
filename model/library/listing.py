"""Lists the photos that arguments name: files, folders and patterns, and counts what is left out."""

import glob
import os
import re
from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.image import SUFFIXES

STANDARD_INPUT = "-"

OURS = ".showtell"
"""Beginning of the names of our own files, which are never counted."""

THUMBNAIL_FOLDERS = frozenset(
    {
        "@eadir", "#recycle", "@recycle", "$recycle.bin", "thumbs", ".thumbs", ".thumbnails", ".@__thumb",
        ".picasaoriginals", ".dtrash", ".trash", ".trashes", ".git",
    }
)  # fmt: skip
"""Folders, in small letters, in which programs keep thumbnails and what was thrown away."""

_PREVIEW_SUFFIXES = (".lrdata", ".photoslibrary", ".aplibrary")
"""Endings of folders that belong to a program: Lightroom's previews, Apple's libraries."""

_SIDECAR_SUFFIXES = frozenset({".txt", ".json", ".xmp"})

_URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)


@dataclass(slots=True)
class Listing:
    """The photos that were found, and what was not taken.

    Attributes:
        photos: Paths, in the order of their names.
        left_out: How many files of each ending, or folders of a kind, were left out.
        failures: Paths that could not be looked into, with the reason.
        folders: How many folders were looked into.
    """

    photos: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    folders: int = 0

    @property
    def left_out_text(self) -> str:
        """Returns what was left out in words, the most first; empty if nothing was."""
        most_first = sorted(self.left_out.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{count:,} {what}" for what, count in most_first)


def list_photos(arguments: Sequence[str], *, excluded: Collection[str] = ()) -> Listing:
    """Lists photos.

    Args:
        arguments: Files, folders and patterns; `-` is standard input. What matches nothing is listed too, and fails
            when it is read.
        excluded: Folders that are left out without a word, such as the one that is written to.

    Returns:
        The photos. A folder is looked into once, however many links lead to it.
    """
    found = Listing()
    barred = {_identity(path) for path in excluded if os.path.isdir(path)}  # noqa: PTH112 - many paths, as text
    for argument in arguments:
        for path in _expand(argument):
            if is_url(path):
                reason = "expected a file, received an address; nothing is fetched: download it and give the file"
                found.failures.append((path, reason))
            elif path != STANDARD_INPUT and os.path.isdir(path):  # noqa: PTH112
                _walk(path, found, set(barred))
            else:
                found.photos.append(path)
    return found


def is_url(path: str) -> bool:
    """Returns whether an argument is an address of the network, and no file of that name is there."""
    return _URL.match(path) is not None and not os.path.lexists(path)


def _expand(argument: str) -> list[str]:
    if argument == STANDARD_INPUT or is_url(argument):
        return [argument]
    literal = os.path.lexists(argument) or not glob.has_magic(argument)
    matches = [argument] if literal else sorted(glob.glob(argument, recursive=True))  # noqa: PTH207
    return [str(Path(path)) for path in matches or [argument]]


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _walk(root: str, found: Listing, seen: set[tuple[int, int]]) -> None:
    """Looks into a folder and all below it; into linked ones last, so that a photo has the name where it lies."""
    linked = deque([root])
    while linked:
        below: list[Iterator[os.DirEntry[str]]] = [_entries(linked.popleft(), found, seen)]
        while below:
            entry = next(below[-1], None)
            if entry is None:
                below.pop()
            elif not _is_folder(entry):
                found.photos.append(entry.path)
            elif entry.is_symlink():
                linked.append(entry.path)
            else:
                below.append(_entries(entry.path, found, seen))


def _entries(folder: str, found: Listing, seen: set[tuple[int, int]]) -> Iterator[os.DirEntry[str]]:
    """Returns the photos and folders in a folder, by name, and counts what else is there."""
    try:
        identity = _identity(folder)
        if identity in seen:
            return iter(())
        seen.add(identity)
        with os.scandir(folder) as entries:
            everything = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        found.failures.append((folder, error.strerror or str(error)))
        return iter(())
    found.folders += 1
    taken: list[os.DirEntry[str]] = []
    others: list[os.DirEntry[str]] = []
    for entry in everything:
        reason = _reason(entry)
        if reason is None:
            taken.append(entry)
        elif reason.startswith(".") and _suffix(entry.name) in _SIDECAR_SUFFIXES:
            others.append(entry)
        elif reason:
            found.left_out[reason] += 1
    _count_sidecars(taken, others, found)
    return iter(taken)


def left_out_by_name(name: str, *, is_folder: bool) -> str | None:
    """Returns why a file or a folder is left out for its name; nothing for our own files, None if it is not."""
    if name.startswith(OURS):
        return ""
    if name.startswith("._"):
        return "._* of macOS"
    if is_folder:
        small = name.casefold()
        is_left_out = small in THUMBNAIL_FOLDERS or small.endswith(_PREVIEW_SUFFIXES) or small.startswith(".trash-")
        return "folders of thumbnails or trash" if is_left_out else None
    suffix = _suffix(name)
    return None if suffix in SUFFIXES else suffix or "without an ending"


def _reason(entry: os.DirEntry[str]) -> str | None:
    """Returns why an entry is left out; nothing for our own files, None if it is not."""
    is_folder = _is_folder(entry)
    reason = left_out_by_name(entry.name, is_folder=is_folder)
    return reason if reason is not None or is_folder or _is_file(entry) else "that are no files"


def _count_sidecars(photos: Collection[os.DirEntry[str]], others: Collection[os.DirEntry[str]], found: Listing) -> None:
    """Counts texts that stand beside no photo; the others are what this program or a photo program wrote."""
    if not others:
        return
    names = {entry.name for entry in photos}
    stems = {os.path.splitext(name)[0] for name in names}  # noqa: PTH122
    for entry in others:
        stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122
        if stem not in names and stem not in stems:
            found.left_out[suffix.lower()] += 1


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Returns whether an entry is a file; a pipe would be waited for without end, a broken link fails when read."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))  # noqa: PTH110
    except OSError:
        return True
