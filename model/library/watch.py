"""Watches folders by looking again and again: works on every file system, networks' too, and takes little time."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from model.library.photos import Stamp, stamp_of

IDLE_SHARE = 0.1
"""Largest share of the time that is spent looking."""


@dataclass(slots=True)
class Arrivals:
    """Tells which photos are new and whole.

    A photo is taken to be whole when it was last changed some time ago, or when it is as it was at the last look.

    Args:
        settle_seconds: How long ago.
    """

    settle_seconds: float
    _handled: dict[str, Stamp] = field(default_factory=dict)
    _seen: dict[str, Stamp] = field(default_factory=dict)

    def new(self, photos: Iterable[str]) -> list[str]:
        """Returns the photos that are whole, and new or changed since they were returned last."""
        seen = {photo: stamp for photo in photos if (stamp := stamp_of(photo)) is not None}
        latest = time.time_ns() - int(self.settle_seconds * 1e9)
        new = [
            photo
            for photo, stamp in seen.items()
            if self._handled.get(photo) != stamp and (stamp.mtime_ns < latest or self._seen.get(photo) == stamp)
        ]
        # What has vanished is forgotten.
        self._handled = {photo: stamp for photo, stamp in self._handled.items() if photo in seen}
        self._handled.update((photo, seen[photo]) for photo in new)
        self._seen = seen
        return new


def watch(look: Callable[[], Sequence[str]], work: Callable[[Sequence[str]], None], poll_seconds: float) -> None:
    """Looks and works for ever; ends by an interrupt alone.

    Args:
        look: Returns the photos that are there.
        work: Works on those that are new and whole.
        poll_seconds: Least time between two looks; it is longer where a look takes long.
    """
    arrivals = Arrivals(poll_seconds)
    never = threading.Event()
    while True:
        started = time.monotonic()
        new = arrivals.new(look())
        looked_seconds = time.monotonic() - started
        if new:
            work(new)
        never.wait(max(poll_seconds, looked_seconds / IDLE_SHARE))
