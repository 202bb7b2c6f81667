"""The journal of a run: every photo that is done, so that a run goes on where the last one stopped.

It is a file of JSON lines, the settings first, that only grows. A line is written before the files that it tells of are
renamed into place, and it holds their stamps: after a kill, what is there and what is missing tells how far it came.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from model.errors import LibraryError
from model.library.photos import Stamp
from model.library.rows import Row

_VERSION = 1
_BEGINNING = b'{"showtell_journal":'


class Written(NamedTuple):
    """A file that was written for a photo.

    Attributes:
        before: Stamp of what was there before; None if nothing was.
        after: Stamp of what was put there; None if what was there was kept.
    """

    before: Stamp | None
    after: Stamp | None


@dataclass(frozen=True, slots=True)
class Entry:
    """What the journal tells of one photo, without its row.

    Attributes:
        stamp: Of the photo; None if it could not be read.
        sha256: Of its bytes; empty if it could not be read.
        wrote: What was written for it, by kind.
        is_captioned: Whether it has captions.
        is_failed: Whether it failed, or something for it could not be written.
        place: Where its line begins, in bytes.
    """

    stamp: Stamp | None
    sha256: str
    wrote: Mapping[str, Written]
    is_captioned: bool
    is_failed: bool
    place: int


class Journal:
    """An open journal; one process at a time.

    Args:
        path: Its file; made if missing.
        settings: What must not change between runs, in JSON's types.
        overwrite: Whether to begin anew.

    Raises:
        LibraryError: Another run has it open, it was written with other settings, or it is no journal.
        OSError: It cannot be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.settings = dict(settings)
        self._path = path
        self._entries: dict[str, Entry] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as files:
            self._file = files.enter_context(path.open("ab", buffering=0))
            self._lock()
            self._load(overwrite=overwrite)
            self._reader = files.enter_context(path.open("rb"))
            self._files = files.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._files.close()

    def entry(self, photo: str) -> Entry | None:
        """Returns what is known of a photo, by its path relative to the journal's folder."""
        return self._entries.get(photo)

    def row(self, photo: str) -> Row:
        """Returns the row of a photo that is known."""
        return self._row_at(self._reader, self._entries[photo].place)

    def rows(self) -> Iterator[Row]:
        """Yields the row of every photo, once, in the order in which they were done."""
        with self._path.open("rb") as file:
            for entry in sorted(self._entries.values(), key=lambda entry: entry.place):
                yield self._row_at(file, entry.place)

    def append(self, lines: Mapping[str, Mapping[str, Any]]) -> None:
        """Adds a line for each photo, all at once.

        Args:
            lines: By photo, the fields `stamp`, `sha256`, `wrote` and `row`.

        Raises:
            OSError: The disk is full or broken; what was added is not counted.
        """
        place = os.fstat(self._file.fileno()).st_size
        data = bytearray()
        entries: dict[str, Entry] = {}
        for photo, line in lines.items():
            entries[photo] = _entry(line, place + len(data))
            data += json.dumps({"photo": photo, **line}).encode("ascii") + b"\n"
        self._write(data)
        self._entries.update(entries)

    def read_again(self) -> None:
        """Reads its file once more: a signal may have come between the writing of lines and their counting."""
        self._entries.clear()
        with self._path.open("rb") as file:
            self._load_lines(file, len(file.readline()))

    def sync(self) -> None:
        """Writes the journal to disk now."""
        os.fsync(self._file.fileno())

    def _lock(self) -> None:
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LibraryError(f"{self._path}: another run is writing here; wait for its end, or stop it") from error
        except OSError:  # some network drives have no locks
            return

    def _load(self, *, overwrite: bool) -> None:
        place = 0
        with self._path.open("rb") as file:
            head = file.readline()
            if head[: len(_BEGINNING)] != _BEGINNING[: len(head)]:
                raise LibraryError(
                    f"{self._path}: expected a journal of this command, found another file; move it away"
                )
            # Without its end, a kill came while the first line was written.
            if head.endswith(b"\n") and not overwrite:
                self._check(head)
                place = self._load_lines(file, len(head))
        # What a kill or a power cut left behind the last whole line is made again.
        self._file.truncate(place)
        if not place:
            self._write(_heading(self.settings))

    def _load_lines(self, file: IO[bytes], place: int) -> int:
        """Loads all whole lines; returns where the last of them ends."""
        for line in file:
            try:
                fields: dict[str, Any] = json.loads(line)
                if not line.endswith(b"\n"):
                    break
                self._entries[fields["photo"]] = _entry(fields, place)
            except (ValueError, KeyError, TypeError):
                break
            place += len(line)
        return place

    def _write(self, data: bytes | bytearray) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _check(self, head: bytes) -> None:
        try:
            fields = json.loads(head)
            version = fields["showtell_journal"]
            before = fields["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise LibraryError(
                f"{self._path}: expected a whole journal, found a damaged first line; --overwrite begins anew"
            ) from error
        told = told_changes(before, self.settings)
        if version != _VERSION or told:
            raise LibraryError(
                f"{self._path}: an earlier run had other settings ({told or f'journal version {version}'}); "
                "give the same ones to go on, or --overwrite to begin anew"
            )

    @staticmethod
    def _row_at(file: IO[bytes], place: int) -> Row:
        file.seek(place)
        row: Row = json.loads(file.readline())["row"]
        return row


def told_changes(before: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Returns in words which settings differ from those of an earlier run; empty if none does."""
    wanted = json.loads(json.dumps(settings))
    other = [name for name in sorted({*before, *wanted}) if before.get(name) != wanted.get(name)]
    return "; ".join(f"{name} was {before.get(name)} and is {wanted.get(name)}" for name in other)


def _heading(settings: Mapping[str, Any]) -> bytes:
    return json.dumps({"showtell_journal": _VERSION, "settings": settings}).encode("ascii") + b"\n"


def _entry(line: Mapping[str, Any], place: int) -> Entry:
    wrote = {kind: Written(_stamp(before), _stamp(after)) for kind, (before, after) in line["wrote"].items()}
    row = line["row"]
    return Entry(_stamp(line["stamp"]), line["sha256"], wrote, bool(row["captions"]), row["error"] is not None, place)


def _stamp(value: Any) -> Stamp | None:
    return None if value is None else Stamp(*value)
