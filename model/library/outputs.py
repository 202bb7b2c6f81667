"""What is written for each photo: sidecars beside it or in another folder, and descriptions inside."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from model.errors import LibraryError
from model.library.embedding import files, xmp
from model.library.embedding.xmp import Description
from model.library.photos import Stamp, stamp_of
from model.library.rows import Row, best_caption, captions_of
from model.library.staging import Staged, stage
from model.library.texts import subjects

SIDECARS = ("json", "txt", "xmp")
"""Kinds of sidecars."""


class Past(NamedTuple):
    """What an earlier run did for a photo.

    Attributes:
        row: Its row then.
        after: Stamp of the file that was written then; None if none was.
    """

    row: Row
    after: Stamp | None


class Output(Protocol):
    """One kind of file that is written for each photo."""

    kind: str

    def place(self, photo: str, /) -> str:
        """Returns where it is written."""

    def claim(self, photo: str, /) -> str:
        """Takes its place for a photo; returns the photo that has taken it, the first of those that share one."""

    def stage(self, photo: str, row: Row, past: Past | None, /) -> Staged | None:
        """Writes it beside its place; returns None if someone else's is there, which is kept.

        Raises:
            LibraryError: What is there is damaged, or the photo has changed since it was read.
            OSError: It cannot be read or written.
        """


@dataclass(frozen=True, slots=True)
class Folders:
    """Where files are written: beside the photos, or in a folder that mirrors theirs.

    Attributes:
        base: Folder that all photos are in, absolute.
        out: Folder that mirrors it; empty to write beside the photos.
    """

    base: str
    out: str

    def place(self, photo: str) -> str:
        """Returns where the file of a photo goes, with the photo's own name."""
        return os.path.join(self.out, os.path.relpath(os.path.abspath(photo), self.base)) if self.out else photo  # noqa: PTH100, PTH118


class Sidecar:
    """A text file beside each photo: `a.txt`, `a.jpg.json` or `a.jpg.xmp`.

    Args:
        kind: One of `SIDECARS`.
        folders: Where it goes.
        threshold: Least probability of a class that becomes a subject.
        overwrite: Whether what others wrote is replaced.
    """

    def __init__(self, kind: str, folders: Folders, *, threshold: float, overwrite: bool) -> None:
        self.kind = kind
        self._folders = folders
        self._threshold = threshold
        self._overwrite = overwrite
        self._owners: dict[str, str] = {}

    def place(self, photo: str) -> str:
        """Returns where the sidecar is written; see `Output.place`."""
        place = self._folders.place(photo)
        return f"{os.path.splitext(place)[0]}.txt" if self.kind == "txt" else f"{place}.{self.kind}"  # noqa: PTH122

    def claim(self, photo: str) -> str:
        """Takes the place of a text, which has its photo's name without the ending; see `Output.claim`."""
        return self._owners.setdefault(self.place(photo), photo) if self.kind == "txt" else photo

    def stage(self, photo: str, row: Row, past: Past | None) -> Staged | None:
        """Writes the sidecar beside its place; see `Output.stage`."""
        place = self.place(photo)
        owner = self.claim(photo)
        if owner != photo:
            name = os.path.basename(owner)  # noqa: PTH119
            raise LibraryError(f"its caption would be in the text file of {name}; give one of them another name")
        before = stamp_of(place)
        if self.kind == "xmp":
            content = self._xmp(place, row, past) if before is not None else _packet(b"", row, None, self._threshold)
        elif before is not None and not self._overwrite and (past is None or past.after != before):
            content = None
        else:
            content = _text(self.kind, row)
        return None if content is None else stage(place, content, before)

    def _xmp(self, place: str, row: Row, past: Past | None) -> bytes | None:
        there = Path(place).read_bytes()
        text = xmp.description_in(there)
        if text and not self._overwrite and (past is None or text != best_caption(past.row)):
            return None
        return _packet(there, row, past, self._threshold)


class Embedded:
    """The description inside each photo, or inside a copy of it.

    Args:
        folders: Where copies go; to change the photos themselves, without `out`.
        threshold: Least probability of a class that becomes a subject.
        overwrite: Whether what others wrote is replaced.
    """

    kind = "exif"

    def __init__(self, folders: Folders, *, threshold: float, overwrite: bool) -> None:
        self._folders = folders
        self._threshold = threshold
        self._overwrite = overwrite

    @property
    def is_in_place(self) -> bool:
        """Returns whether the photos themselves are changed."""
        return not self._folders.out

    def place(self, photo: str) -> str:
        """Returns the photo, or where its copy goes; see `Output.place`."""
        return self._folders.place(photo)

    def claim(self, photo: str) -> str:
        """Returns the photo: no two have one place."""
        return photo

    def stage(self, photo: str, row: Row, past: Past | None) -> Staged | None:
        """Writes the described photo beside its place; see `Output.stage`."""
        if self.is_in_place and os.path.islink(photo):  # noqa: PTH114
            raise LibraryError("expected a file to write into, received a link; give the file that it leads to")
        place = self.place(photo)
        before = stamp_of(place)
        if not (self.is_in_place or before is None or self._overwrite or (past and past.after == before)):
            return None
        data = Path(photo).read_bytes()
        files.check_format(data, photo)
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise LibraryError("it was changed while it was captioned; run the command again")
        if (text := files.description_of(data)) and not self._overwrite and not _is_from(text, past):
            return None if self.is_in_place else stage(place, data, before, like=photo)
        old = past and _description(past.row, self._threshold)
        changed = files.described(data, _description(row, self._threshold), old)
        if self.is_in_place:
            row["sha256"] = hashlib.sha256(changed).hexdigest()
        return stage(place, changed, before, like=photo)


def _is_from(text: str, past: Past | None) -> bool:
    return past is not None and text == best_caption(past.row)


def _description(row: Row, threshold: float) -> Description:
    return Description(best_caption(row), subjects(row["classes"], threshold))


def _packet(there: bytes, row: Row, past: Past | None, threshold: float) -> bytes:
    return xmp.merged(there, _description(row, threshold), past and _description(past.row, threshold))


def _text(kind: str, row: Row) -> bytes:
    if kind == "txt":
        return "".join(f"{text}\n" for text in captions_of(row)).encode()
    return json.dumps(row, indent=1).encode("ascii") + b"\n"
