"""A run over a library: what is done already is left out, the rest is captioned, written and noted in the journal."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

from model.errors import CaptionerError, LibraryError
from model.library.journal import Entry, Journal, Written
from model.library.outputs import Output, Past
from model.library.photos import read_photo, stamp_of
from model.library.pipeline import Captioned, Pipeline, Predict
from model.library.rows import Row, row_of
from model.library.staging import FULL_DISK, Staged, discard, put


@dataclass(slots=True)
class Tally:
    """How many photos a run met.

    Attributes:
        captioned: Captioned now.
        unchanged: Captioned by an earlier run, and unchanged since.
        completed: Captioned by an earlier run, and written now.
        failed: Failed, or something for them could not be written.
        kept: Captioned, but a text that someone else wrote was left as it was.
    """

    captioned: int = 0
    unchanged: int = 0
    completed: int = 0
    failed: int = 0
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """A photo that failed, and why."""

    path: str
    reason: str


@dataclass(slots=True)
class Plan:
    """What is to be done.

    Attributes:
        photos: Paths that are to be read.
        known: Hash of those that need no new captions if their bytes are still the same, by path.
    """

    photos: list[str] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Work:
    """What came of one photo so far.

    Attributes:
        captioned: As it came from the pipeline.
        entry: What the journal tells of it; None if nothing.
        past_row: Its row in the journal; None if there is none.
        row: Its row now.
        wrote: What was written for these bytes, by kind.
        staged: Files that wait beside their places.
        is_known: Whether the captions are those of an earlier run.
        is_kept: Whether something that someone else wrote was left as it was.
    """

    captioned: Captioned
    entry: Entry | None
    past_row: Row | None
    row: Row
    wrote: dict[str, Written]
    staged: list[Staged] = field(default_factory=list)
    is_known: bool = False
    is_kept: bool = False

    @property
    def photo(self) -> str:
        """Returns its path."""
        return self.captioned.photo.path

    def past(self, kind: str) -> Past | None:
        """Returns what an earlier run wrote of a kind."""
        if self.entry is None or self.past_row is None:
            return None
        before = self.entry.wrote.get(kind)
        return Past(self.past_row, before.after if before is not None else None)

    def line(self) -> dict[str, Any]:
        """Returns its line for the journal."""
        # A description inside changes the photo itself.
        stamp = next((file.after for file in self.staged if file.place == self.photo), self.captioned.photo.stamp)
        return {"stamp": stamp, "sha256": self.row["sha256"], "wrote": self.wrote, "row": self.row}


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
        by_key: dict[str, str] = {}
        for photo in photos:
            by_key.setdefault(self._key(photo), photo)
        for key, photo in by_key.items():
            entry = self._journal.entry(key)
            if entry is None:
                plan.photos.append(photo)
                continue
            for output in self._outputs:
                if output.kind in entry.wrote:
                    output.claim(photo)
            if self._is_done(photo, entry):
                self.tally.unchanged += 1
                continue
            plan.photos.append(photo)
            if entry.is_captioned:
                plan.known[photo] = entry.sha256
        return plan

    def work(self, plan: Plan) -> Iterator[list[Failure | None]]:
        """Captions and writes what is planned; yields a batch when it is done: for each photo why it failed, or None.

        Raises:
            LibraryError: The disk is full, or the journal cannot be written. What was done until then is kept.
        """
        read = partial(read_photo, max_pixels=self._max_pixels, known=lambda path: plan.known.get(path, ""))
        for batch in Pipeline(read, self._predict, self._threads).run(plan.photos):
            yield self._write([self._begun(captioned) for captioned in batch])

    def _key(self, photo: str) -> str:
        folder, name = os.path.split(photo)
        if folder not in self._keys:
            self._keys[folder] = os.path.relpath(os.path.abspath(folder), self._folder)  # noqa: PTH100
        return os.path.join(self._keys[folder], name)  # noqa: PTH118

    def _is_done(self, photo: str, entry: Entry) -> bool:
        """Returns whether a photo is unchanged, and all that was written for it is in its place."""
        is_written = all(
            output.kind in entry.wrote and _is_there(output.place(photo), entry.wrote[output.kind])
            for output in self._outputs
        )
        # Its stamp comes second: its description may just have been put into it.
        return is_written and not entry.is_failed and entry.stamp == stamp_of(photo)

    def _begun(self, captioned: Captioned) -> _Work:
        photo = captioned.photo
        key = self._key(photo.path)
        entry = self._journal.entry(key)
        past_row = self._journal.row(key) if entry is not None else None
        wrote = dict(entry.wrote) if entry is not None and entry.sha256 == photo.sha256 else {}
        if entry is not None and past_row is not None and captioned.prediction is None and not photo.error:
            return _Work(captioned, entry, past_row, past_row | {"error": None}, wrote, is_known=True)
        return _Work(captioned, entry, past_row, row_of(captioned), wrote)

    def _write(self, batch: Sequence[_Work]) -> list[Failure | None]:
        try:
            for work in batch:
                if not work.row["error"]:
                    self._stage(work)
            self._journal.append({self._key(work.photo): work.line() for work in batch})
        except OSError as error:
            for file in chain.from_iterable(work.staged for work in batch):
                discard(file.place)
            raise LibraryError(
                f"the run cannot go on: {error.strerror}; make room, then run the command again to go on from here"
            ) from error
        return [self._finish(work) for work in batch]

    def _stage(self, work: _Work) -> None:
        """Writes the files of a photo beside their places; one that cannot be written becomes its error.

        Raises:
            OSError: The disk is full.
        """
        errors: list[str] = []
        for output in self._outputs:
            place = output.place(work.photo)
            if work.is_known and output.kind in work.wrote and _is_there(place, work.wrote[output.kind]):
                continue
            try:
                file = output.stage(work.photo, work.row, work.past(output.kind))
            except (CaptionerError, OSError) as error:
                if isinstance(error, OSError) and error.errno in FULL_DISK:
                    raise
                errors.append(_reason(output, place, error))
                continue
            work.is_kept |= file is None
            work.wrote[output.kind] = Written(None, None) if file is None else file.written
            work.staged += [] if file is None else [file]
        work.row["error"] = "; ".join(errors) or None

    def _finish(self, work: _Work) -> Failure | None:
        """Puts the files of a photo into place, and counts it; one that cannot be put is left to the next run."""
        reasons = [work.row["error"]] if work.row["error"] else []
        for file in work.staged:
            name = os.path.basename(file.place)  # noqa: PTH119
            try:
                if not put(file.place, file.written):
                    reasons.append(f"{name} was changed meanwhile; run the command again")
            except OSError as error:
                reasons.append(f"{name} cannot be written: {error.strerror}")
        self.tally.kept += work.is_kept
        if reasons:
            self.tally.failed += 1
            return Failure(work.photo, "; ".join(reasons))
        if not work.is_known:
            self.tally.captioned += 1
        elif work.staged:
            self.tally.completed += 1
        else:
            self.tally.unchanged += 1
        return None


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


def _reason(output: Output, place: str, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{os.path.basename(place)} cannot be written: {error.strerror or error}"  # noqa: PTH119
    return f"{output.kind}: {error}"
