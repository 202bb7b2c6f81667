"""Answers kept in memory, so that a photo that is sent again is not computed again.

They are found by a hash of the photo, of all that is wanted for it and of the caller. They are kept as bytes: those can
be counted, and are nothing that Python's garbage collector must look through.
"""

import hashlib
import threading
from collections import OrderedDict
from typing import Generic, NamedTuple, TypeVar

import msgspec

from server.jobs import PredictOptions
from server.metrics import ServerMetrics

T = TypeVar("T")

CALLER = "showtell.caller"
"""Entry of a request's environment: the number of its API key. Absent where no key is needed."""

ENTRY_BYTES = 256
"""Memory of an entry besides its key and value: headers of both, and its place among the others."""


class Place(NamedTuple):
    """Where an answer belongs.

    Attributes:
        key: Hash of what was asked, and by whom.
        generation: `InferenceQueue.generation` when it was asked.
    """

    key: bytes
    generation: int


class RecentValues:
    """Values within a limit of memory; those that were not used for longest make room. Not thread-safe.

    Args:
        limit_bytes: Most memory of all, with keys and what it takes to find them.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.size_bytes = 0
        self._limit_bytes = limit_bytes
        self._values: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: bytes) -> bytes | None:
        """Returns a value, which counts as using it; None if there is none."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Keeps a value in the place of an earlier one. One that is larger than the limit is not kept."""
        earlier = self._values.pop(key, None)
        if earlier is not None:
            self.size_bytes -= size_of(key, earlier)
        if size_of(key, value) > self._limit_bytes:
            return
        self._values[key] = value
        self.size_bytes += size_of(key, value)
        while self.size_bytes > self._limit_bytes:
            self.size_bytes -= size_of(*self._values.popitem(last=False))

    def clear(self) -> None:
        """Forgets all values."""
        self._values.clear()
        self.size_bytes = 0


def size_of(key: bytes, value: bytes) -> int:
    """Returns what a value counts, in bytes."""
    return len(key) + len(value) + ENTRY_BYTES


class AnswerCache(Generic[T]):
    """The answers of one captioner to what was asked before; those of an earlier captioner are forgotten.

    Args:
        kind: Type of an answer, a dataclass; what is given again equals what was put.
        limit_bytes: Most memory; 0 keeps nothing.
        metrics: Counts what was found and what was not.
    """

    def __init__(self, kind: type[T], limit_bytes: int, metrics: ServerMetrics) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._is_on = limit_bytes > 0
        self._values = RecentValues(limit_bytes)
        self._generation = 0
        self._lock = threading.Lock()
        self._lookups = metrics.cache_lookups
        metrics.cache_bytes.set_function(lambda: self._values.size_bytes)
        metrics.cache_answers.set_function(lambda: len(self._values))

    def place(self, photo: bytes, options: PredictOptions, caller: int | None, generation: int) -> Place | None:
        """Returns where the answer to a photo belongs; None if it is not to be kept.

        Args:
            photo: The file, as it was sent.
            options: What is wanted.
            caller: Number of the API key; None if no key is needed. Callers share no answers.
            generation: `InferenceQueue.generation` now.
        """
        if not self._is_on or not options.may_be_kept:
            return None
        # What is wanted comes first: its encoding says where it ends, so that no photo can pass for a part of it.
        key = hashlib.sha256(msgspec.msgpack.encode((caller, options)))
        key.update(photo)
        return Place(key.digest(), generation)

    def get(self, place: Place) -> T | None:
        """Returns the answer at a place; None if there is none."""
        with self._lock:
            found = self._values.get(place.key) if self._serves(place.generation) else None
        self._lookups.labels("miss" if found is None else "hit").inc()
        return None if found is None else self._decoder.decode(found)

    def put(self, place: Place, answer: T) -> None:
        """Keeps an answer, unless a later captioner's are kept already."""
        value = msgspec.msgpack.encode(answer)
        with self._lock:
            if self._serves(place.generation):
                self._values.put(place.key, value)

    def _serves(self, generation: int) -> bool:
        """Returns whether a generation's answers are kept; the first word of a new one clears those of the old."""
        if generation > self._generation:
            self._values.clear()
            self._generation = generation
        return generation == self._generation
