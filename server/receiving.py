"""Limits the memory of all request bodies together; requests beyond it wait."""

import contextlib
import threading
from collections.abc import Iterator

from server.errors import QueueFullError

LARGE_BODIES_AT_ONCE = 24
"""The memory limit, in bodies of the largest size."""

SMALL_BYTES = 1024**2
"""Largest size of a small body, such as a phone's photo scaled down for the web."""

_SMALL_SHARE = 0.1


class BodyMemory:
    """The memory for bodies. A tenth is reserved for small ones, so that large or slow uploads do not delay them.

    A body holds its memory from before its first byte is read until its photos are decoded.

    Args:
        max_body_bytes: Size of the largest body, in bytes.
        most: Most requests that hold memory or wait for it; each occupies a thread.
    """

    def __init__(self, max_body_bytes: int, most: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._free = LARGE_BODIES_AT_ONCE * max_body_bytes
        self._reserve = min(SMALL_BYTES * LARGE_BODIES_AT_ONCE, int(_SMALL_SHARE * self._free))
        self._changed = threading.Condition()
        self._places = threading.BoundedSemaphore(most)

    @contextlib.contextmanager
    def room(self, length: int | None, seconds: float, most_bytes: int | None = None) -> Iterator[None]:
        """Reserves memory for a body while the block runs.

        Args:
            length: The body's length; None if unknown, which counts as the largest.
            seconds: Most time to wait.
            most_bytes: Size of the largest body of this kind, where it is another one.

        Raises:
            QueueFullError: There was no memory in time, or too many wait for it.
        """
        if not self._places.acquire(blocking=False):
            raise QueueFullError("too many uploads are in progress; try again in a second")
        try:
            with self._memory(length, seconds, most_bytes or self._max_body_bytes):
                yield
        finally:
            self._places.release()

    @contextlib.contextmanager
    def _memory(self, length: int | None, seconds: float, most: int) -> Iterator[None]:
        # A body that is too large is refused without being read, so it needs no memory.
        size = most if length is None else length if length <= most else 0
        kept = 0 if size <= SMALL_BYTES else self._reserve
        with self._changed:
            if not self._changed.wait_for(lambda: self._free - kept >= size, seconds):
                raise QueueFullError(
                    f"no memory for a body of {size} bytes was free within {seconds:.1f} s; try again later"
                )
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()
