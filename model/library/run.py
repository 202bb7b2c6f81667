"""A run over a library: what is done already is left out, the rest is captioned, written and noted in the journal."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

from model.errors import LibraryError
from model.library.journal import Entry, Journal, Written
from model.library.outputs import Embedded, Output, Past
from model.library.photos import Stamp, read_photo, stamp_of
from model.library.pipeline import Captioned, Pipeline, Predict
from model.library.rows import Row, row_of
from model.library.staging import FULL_DISK, Staged, discard, put


@dataclass(slots=True)
class Tally:
    """How many photos a run met.

    Attributes:
        captioned: Captioned now.
        unchanged: Done by an earlier run.
        failed: Failed now, or in an earlier run and unchanged since.
        kept: Captioned, but a text that someone else wrote was left as it was.
    """

    captioned: int = 0
    unchanged: int = 0
    failed: int = 0
    kept: int = 0


@dataclass(slots=True)
class Plan:
    """What is to be done.

    Attributes:
        photos: Paths that are to be read.
        known: Hash of those that are done if their bytes are still the same, by path.
    """

    photos: list[str] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """A photo that failed, and why."""

    path: str
    reason: str


class LibraryRun:
    """One run over a library.

    Args:
        journal: What is done already.
        outputs: What is written for each photo.
        predict: Captions a batch.
        folder: Folder of the journal, absolute; photos are called by their paths from here.
        max_pixels: Largest width times height of a photo.
        threads: How many threads read and decode.
    """

    def __init__(
        self, journal: Journal, outputs: Sequence[Output], predict: Predict, *, folder: str, max_pixels: int,
        threads: int,
    ) -> None:  # fmt: skip
        self.tally = Tally()
        self._journal = journal
        self._outputs = outputs
        self._predict = predict
        self._folder = folder
        self._max_pixels = max_pixels
        self._threads = threads
        self._keys: dict[str, str] = {}

    def plan(self, photos: Iterable[str]) -> Plan:
        """Finds out what is to be done, and completes what a killed run had written but not put in place."""
        plan = Plan()
        seen: set[str] = set()
        for photo in photos:
            key = self._key(photo)
            if key in seen:
                continue
            seen.add(key)
            entry = self._journal.entry(key)
            if entry is None or not self._is_written(photo, entry) or (entry.is_failed and not entry.is_lasting):
                plan.photos.append(photo)
            elif entry.stamp != stamp_of(photo):
                plan.photos.append(photo)
                plan.known[photo] = entry.sha256
            else:
                self._count_done(entry)
        return plan

    def work(self, plan: Plan) -> Iterator[list[Failure | None]]:
        """Captions and writes what is planned; yields a batch when it is done: for each photo why it failed, or None.

        Raises:
            LibraryError: The disk is full, or the journal cannot be written. What was done until then is kept.
        """
        read = partial(read_photo, max_pixels=self._max_pixels, known=lambda path: plan.known.get(path, ""))
        for batch in Pipeline(read, self._predict, self._threads).run(plan.photos):
            yield self._write(batch)

    def _key(self, photo: str) -> str:
        folder, name = os.path.split(photo)
        if folder not in self._keys:
            self._keys[folder] = os.path.relpath(os.path.abspath(folder), self._folder)  # noqa: PTH100
        return os.path.join(self._keys[folder], name)  # noqa: PTH118

    def _is_written(self, photo: str, entry: Entry) -> bool:
        if entry.is_failed:
            return True
        return all(
            output.kind in entry.wrote and _is_there(output.place(photo), entry.wrote[output.kind])
            for output in self._outputs
        )

    def _count_done(self, entry: Entry) -> None:
        self.tally.failed += entry.is_failed
        self.tally.unchanged += not entry.is_failed

    def _write(self, batch: Sequence[Captioned]) -> list[Failure | None]:
        staged: list[list[Staged]] = []
        lines: dict[str, dict[str, Any]] = {}
        try:
            for captioned in batch:
                line, files = self._line(captioned)
                staged.append(files)
                lines[self._key(captioned.photo.path)] = line
            self._journal.append(lines)
        except OSError as error:
            for file in chain.from_iterable(staged):
                discard(file.place)
            raise LibraryError(
                f"the run cannot go on: {error.strerror}; make room, then run the command again to go on from here"
            ) from error
        failures: list[Failure | None] = []
        for captioned, line, files in zip(batch, lines.values(), staged, strict=True):
            reason = line["row"]["error"] or self._put(files)
            failures.append(Failure(captioned.photo.path, reason) if reason else None)
        return failures

    def _put(self, files: Sequence[Staged]) -> str:
        """Puts the files of a photo into place; returns why one could not be, and leaves it to the next run."""
        reasons: list[str] = []
        for file in files:
            try:
                if not put(file.place, file.written):
                    reasons.append(f"{os.path.basename(file.place)} was changed meanwhile; run the command again")  # noqa: PTH119
            except OSError as error:
                reasons.append(f"{os.path.basename(file.place)} cannot be written: {error.strerror}")  # noqa: PTH119
        if reasons:
            self.tally.failed += 1
            self.tally.captioned -= 1
        return "; ".join(reasons)

    def _line(self, captioned: Captioned) -> tuple[dict[str, Any], list[Staged]]:
        """Returns the journal's line of a photo, and its files.

        Raises:
            OSError: The disk is full.
        """
        photo = captioned.photo
        key = self._key(photo.path)
        entry = self._journal.entry(key)
        if captioned.prediction is None and not photo.error and entry is not None:
            self._count_done(entry)
            line = _line(photo.stamp, entry.sha256, entry.wrote, self._journal.row(key), is_lasting=entry.is_lasting)
            return line, []
        row = row_of(captioned)
        staged: list[Staged] = []
        wrote: dict[str, Written] = dict(entry.wrote) if entry is not None and entry.sha256 == photo.sha256 else {}
        stamp = photo.stamp
        if captioned.prediction is not None:
            past_row = self._journal.row(key) if entry is not None else None
            staged = self._stage(photo.path, row, entry, past_row, wrote)
            stamp = self._stamp_after(stamp, wrote)
        self.tally.failed += row["error"] is not None
        self.tally.captioned += row["error"] is None
        return _line(stamp, row["sha256"], wrote, row, is_lasting=photo.is_lasting), staged

    def _stage(
        self, photo: str, row: Row, entry: Entry | None, past_row: Row | None, wrote: dict[str, Written]
    ) -> list[Staged]:
        staged: list[Staged] = []
        kept = False
        for output in self._outputs:
            before = entry.wrote.get(output.kind) if entry is not None else None
            past = Past(past_row, before.after if before is not None else None) if past_row is not None else None
            try:
                file = output.stage(photo, row, past)
            except (LibraryError, OSError) as error:
                if isinstance(error, OSError) and error.errno in FULL_DISK:
                    for done in staged:
                        discard(done.place)
                    raise
                row["error"] = _reason(output, photo, error)
                continue
            kept |= file is None
            wrote[output.kind] = Written(None, None) if file is None else file.written
            staged += [] if file is None else [file]
        self.tally.kept += kept
        return staged

    def _stamp_after(self, stamp: Stamp | None, wrote: Mapping[str, Written]) -> Stamp | None:
        """Returns the stamp that a photo has when its description is inside."""
        if not any(isinstance(output, Embedded) and output.is_in_place for output in self._outputs):
            return stamp
        changed = wrote.get(Embedded.kind)
        return stamp if changed is None or changed.after is None else changed.after


def _line(
    stamp: Stamp | None, sha256: str, wrote: Mapping[str, Written], row: Row, *, is_lasting: bool
) -> dict[str, Any]:
    return {"stamp": stamp, "sha256": sha256, "wrote": dict(wrote), "lasting": is_lasting, "row": row}


def _is_there(place: str, written: Written) -> bool:
    """Returns whether an output is in its place: as it was written, or as someone has changed it since."""
    if written.after is None:
        return True
    now = stamp_of(place)
    with contextlib.suppress(OSError):  # what cannot be put there now is made again
        if now == written.after or put(place, written):
            return True
    # The old one, or an empty one after a power cut: the new one never came.
    return now is not None and now != written.before and now.size > 0


def _reason(output: Output, photo: str, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{os.path.basename(output.place(photo))} cannot be written: {error.strerror or error}"  # noqa: PTH119
    return f"{output.kind}: {error}"
