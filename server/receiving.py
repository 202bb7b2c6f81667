"""Memory for the bodies of requests: how many bytes of them are held at once, and who waits."""

import contextlib
import threading
from collections.abc import Iterator

from server.errors import QueueFullError

LARGE_BODIES_AT_ONCE = 24
"""Bodies of the largest size that are in memory at once; of smaller ones, as many as take no more."""

SMALL_BYTES = 1024**2
"""A body of at most that size, such as a phone's photo made smaller for the web, is a small one."""

_SMALL_SHARE = 0.1


class BodyMemory:
    """Room for bodies, a tenth of it for small ones alone, so that large or slow uploads do not hold up everyone.

    A body has its room from before its first byte is read until its photos are decoded.

    Args:
        max_body_bytes: Size of the largest body, in bytes.
        most: How many may have room or wait for it; each holds a thread.
    """

    def __init__(self, max_body_bytes: int, most: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._free = LARGE_BODIES_AT_ONCE * max_body_bytes
        self._reserve = min(SMALL_BYTES * LARGE_BODIES_AT_ONCE, int(_SMALL_SHARE * self._free))
        self._changed = threading.Condition()
        self._places = threading.BoundedSemaphore(most)

    @contextlib.contextmanager
    def room(self, length: int | None, seconds: float) -> Iterator[None]:
        """Holds room for a body while the block runs.

        Args:
            length: Of the body; None where it is not known, which counts as the largest.
            seconds: Most time to wait.

        Raises:
            QueueFullError: There was no room in time, or too many wait for it.
        """
        if not self._places.acquire(blocking=False):
            raise QueueFullError("expected fewer uploads at once; try again in a second")
        try:
            with self._memory(length, seconds):
                yield
        finally:
            self._places.release()

    @contextlib.contextmanager
    def _memory(self, length: int | None, seconds: float) -> Iterator[None]:
        # One that is longer than the largest is refused without being read.
        size = self._max_body_bytes if length is None else length if length <= self._max_body_bytes else 0
        kept = 0 if size <= SMALL_BYTES else self._reserve
        with self._changed:
            if not self._changed.wait_for(lambda: self._free - kept >= size, seconds):
                raise QueueFullError(
                    f"expected room for a body of {size} bytes within {seconds:.1f} s, other uploads hold it; try again"
                )
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()
