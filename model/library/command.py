"""The command's work: prints captions, or writes them for a whole library and says how it went."""

import hashlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from model.errors import LibraryError
from model.library.journal import Journal
from model.library.listing import Listing, list_photos
from model.library.names import printable
from model.library.photos import read_photo
from model.library.pipeline import Captioned, Pipeline, Predict
from model.library.progress import Progress, say, tell
from model.library.request import Request
from model.library.run import LibraryRun
from model.library.tables import write_table
from model.library.watch import watch

Show = Callable[[Captioned], str]


class Command:
    """One call of the command.

    Args:
        request: What is asked for.
        predict: Captions a batch.
    """

    def __init__(self, request: Request, predict: Predict) -> None:
        self._request = request
        self._predict = predict
        self._told: set[tuple[str, str]] = set()

    def list_photos(self) -> Listing:
        """Lists the photos; what could not be looked into is told once."""
        listing = list_photos(self._request.photos, excluded=[self._request.out_folder])
        for path, reason in listing.failures:
            if (path, reason) not in self._told:
                self._told.add((path, reason))
                tell(f"{printable(path)}: {reason}")
        return listing

    def print(self, listing: Listing, show: Show) -> bool:
        """Prints the captions of photos.

        Args:
            listing: The photos.
            show: Returns the text of one photo.

        Returns:
            Whether all was done and nothing failed.
        """
        failed = 0
        total = 0

        def work(photos: Sequence[str]) -> None:
            nonlocal failed, total
            total += len(photos)
            failed += self._print(photos, show)

        is_whole = self._drive(listing, work)
        failed += len(self._told)
        total += len(self._told)
        if failed:
            tell(f"{failed} of {total} photos failed")
        return is_whole and not failed

    def _print(self, photos: Sequence[str], show: Show) -> int:
        failed = 0
        read = partial(read_photo, max_pixels=self._request.max_pixels)
        with Progress(len(photos)) as progress:
            for batch in Pipeline(read, self._predict, self._request.threads).run(photos):
                progress.advance(len(batch))
                for captioned in batch:
                    if captioned.photo.error:
                        failed += 1
                        progress.fail(captioned.photo.path, captioned.photo.error)
                    else:
                        say(show(captioned))
        return failed

    def write(self, listing: Listing, settings: dict[str, Any]) -> bool:
        """Writes the captions of photos, and says at the end how it went.

        Args:
            listing: The photos.
            settings: What must not change between two runs.

        Returns:
            Whether all was done and nothing failed.

        Raises:
            LibraryError: The run cannot go on.
        """
        path = self._request.journal_path
        try:
            journal = Journal(path, settings, overwrite=self._request.overwrite)
        except OSError as error:
            raise LibraryError(
                f"{path}: the journal cannot be written: {error.strerror}; name a file that can be by --journal"
            ) from error
        with journal:
            return self._write(listing, journal)

    def _write(self, listing: Listing, journal: Journal) -> bool:
        folder = os.path.abspath(self._request.journal_path.parent)  # noqa: PTH100
        run = LibraryRun(
            journal, self._request.outputs(), self._predict, folder=folder, max_pixels=self._request.max_pixels,
            threads=self._request.threads,
        )  # fmt: skip
        started = time.monotonic()

        def work(photos: Sequence[str]) -> None:
            plan = run.plan(photos)
            try:
                with Progress(len(photos), len(photos) - len(plan.photos)) as progress:
                    for batch in run.work(plan):
                        progress.advance(len(batch))
                        for failure in filter(None, batch):
                            progress.fail(failure.path, failure.reason)
            except KeyboardInterrupt:
                journal.read_again()
                self._finish(journal)
                raise
            self._finish(journal)

        is_whole = self._drive(listing, work)
        seconds = time.monotonic() - started
        tally = run.tally
        tally.failed += len(self._told)
        notes = [f"captioned {tally.captioned:,}", f"unchanged {tally.unchanged:,}", f"failed {tally.failed:,}"]
        notes += [f"written without new captions {tally.completed:,}"] if tally.completed else []
        notes += [f"texts of others kept {tally.kept:,}"] if tally.kept else []
        rate = f": {tally.captioned / seconds:.1f} images/s" if tally.captioned else ""
        tell(f"{', '.join(notes)} in {seconds:.1f} s{rate}")
        return is_whole and not tally.failed

    def _finish(self, journal: Journal) -> None:
        """Writes the table, and the journal to disk."""
        request = self._request
        try:
            journal.sync()
            if request.table is not None and request.out is not None:
                write_table(request.table, journal.rows(), request.out, captions=int(journal.settings["captions"]))
        except OSError as error:
            raise LibraryError(
                f"{request.out or request.journal_path}: cannot be written: {error.strerror or error}; "
                "make room, then run the command again: nothing is captioned twice"
            ) from error

    def _drive(self, listing: Listing, work: Callable[[Sequence[str]], None]) -> bool:
        """Works once, or again and again until it is stopped; returns whether all was done."""
        # What runs services stops them so; a program that a script starts behind its back ignores the other signal.
        usual = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            if self._request.watch:
                watch(lambda: self.list_photos().photos, work, self._request.poll_seconds)
            else:
                work(listing.photos)
        except KeyboardInterrupt:
            tell("stopped")
            return self._request.watch
        finally:
            signal.signal(signal.SIGTERM, usual)
        return True


def bundle_mark(bundle: Path) -> str:
    """Returns what tells one bundle from another: the beginning of a hash of its manifest."""
    return hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()[:12]
