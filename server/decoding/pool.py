"""Schedules photos on the decoding processes, and replaces a process that fails.

Ordinary photos go first and always have a place: a large photo is ranked as if it had come later, and large photos
never hold all places at once, so that neither their time nor their memory adds up.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from typing import Literal, NoReturn, get_args

from model.errors import ImageError
from model.formats.header import Header
from model.image import DecodedImage, inspect_image
from server.decoding.process import Decoder
from server.decoding.program import CPU_SECONDS
from server.errors import CostlyImageError, DeadlineExceededError, NotReadyError, OutOfResourcesError, QueueFullError
from server.metrics import ServerMetrics

PLACES = max(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
"""Photos decoded at once: one for each core, and at least two, so that one is left for ordinary photos."""

LARGE_SECONDS = 0.25
LARGE_BYTES = 64 * 1024**2
"""A photo that takes more time or memory than this is a large one."""

QUICK_SECONDS = 0.02
"""A photo that takes no longer than this is never refused."""

BACKLOG_SECONDS = 2.5
"""Most decoding time that may wait for each place, in seconds; a photo beyond that is refused at once."""

_AGING = 10.0
_MOST_AGING_SECONDS = 5.0
"""Seconds by which a photo is ranked later, for each second that it takes; and at most."""

Reason = Literal["memory", "processor-time", "deadline", "crash"]
"""Why a decoder was ended."""

_WARNINGS = frozenset({"UserWarning", "RuntimeWarning", "DeprecationWarning", "DecompressionBombWarning"})

_logger = logging.getLogger("server")


class _Turn:
    """One photo's wait for a place.

    Args:
        header: The photo's headers, which tell its cost.
    """

    def __init__(self, header: Header) -> None:
        self.begun = time.monotonic()
        self.seconds = header.decode_seconds
        self.rank = self.begun + min(_AGING * self.seconds, _MOST_AGING_SECONDS)
        self.is_large = header.decode_seconds > LARGE_SECONDS or header.decoded_bytes > LARGE_BYTES
        self.granted = threading.Event()


class DecodingPool:
    """The decoding processes, and the queue of photos in front of them.

    Args:
        max_body_bytes: Size of the largest photo, in bytes.
        max_pixels: Largest width times height of a photo.
        metrics: Counts waiting photos, and decoders that were replaced.
        places: Photos decoded at once; at least 2.
    """

    def __init__(self, max_body_bytes: int, max_pixels: int, metrics: ServerMetrics, places: int = PLACES) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_pixels = max_pixels
        self._metrics = metrics
        self._places = places
        self._lock = threading.Lock()
        self._free = places
        self._large = 0
        self._waiting: list[_Turn] = []
        self._working: set[_Turn] = set()
        self._idle: list[Decoder] = []
        for reason in get_args(Reason):
            metrics.decoders_replaced.labels(reason)  # so that /metrics shows zeros
        metrics.decoding_depth.set_function(lambda: self.waiting)
        metrics.decoding_oldest_seconds.set_function(lambda: self.oldest_seconds)

    def start(self) -> None:
        """Starts every decoder without waiting for it; one that cannot start now is started when it is needed."""
        try:
            for _ in range(self._places):
                self._idle.append(self._new_decoder())
        except OSError as error:
            _logger.error("cannot start a decoder yet: %s", error)  # noqa: TRY400 - the system's reason is all there is

    def stop(self) -> None:
        """Ends every idle decoder."""
        while self._idle:
            self._idle.pop().end()

    @property
    def waiting(self) -> int:
        """Returns the number of photos that wait for a place."""
        return len(self._waiting)

    @property
    def oldest_seconds(self) -> float:
        """Returns the age of the oldest ordinary photo, in seconds; 0 if there is none."""
        with self._lock:
            begun = [turn.begun for turn in (*self._waiting, *self._working) if not turn.is_large]
        return time.monotonic() - min(begun) if begun else 0.0

    @property
    def process_ids(self) -> list[int]:
        """Returns the ids of the idle processes."""
        return [decoder.process_id for decoder in list(self._idle)]

    def check(self) -> None:
        """Makes sure that there is a decoder, busy or idle.

        Raises:
            NotReadyError: There is none, and none can be started.
        """
        with self._lock:
            if self._idle or self._working:
                return
        try:
            self._idle.append(self._new_decoder())
        except OSError as error:
            raise NotReadyError(f"no decoder can be started: {error.strerror}; try again later") from error

    def decode(self, data: bytes, deadline: float) -> DecodedImage:
        """Decodes a photo when its turn has come.

        Args:
            data: The whole file.
            deadline: Value of `time.monotonic()` after which the request gives up.

        Returns:
            The pixels and the original's upright size.

        Raises:
            ImageError: It is no photo, or costs too much to decode.
            QueueFullError: It takes long, and enough such photos wait already.
            DeadlineExceededError: Its turn did not come in time.
            OutOfResourcesError: The system has no memory, process or descriptor left.
        """
        header = inspect_image(data, max_pixels=self._max_pixels)
        turn = _Turn(header)
        self._wait(turn, deadline)
        try:
            return self._decode(data, header, deadline)
        finally:
            with self._lock:
                self._working.remove(turn)
                self._large -= turn.is_large
                self._free += 1
                self._grant()

    def _wait(self, turn: _Turn, deadline: float) -> None:
        with self._lock:
            if self._would_wait_in_vain(turn):
                raise QueueFullError("enough large images are waiting already; try again later")
            self._waiting.append(turn)
            self._grant()
        if turn.granted.wait(max(0.0, deadline - time.monotonic())):
            return
        with self._lock:
            if turn.granted.is_set():
                return
            self._waiting.remove(turn)
        raise DeadlineExceededError("the image was not decoded before the deadline; try again later")

    def _would_wait_in_vain(self, turn: _Turn) -> bool:
        if turn.seconds <= QUICK_SECONDS or not self._waiting:
            return False
        return sum(other.seconds for other in self._waiting) + turn.seconds > self._places * BACKLOG_SECONDS

    def _grant(self) -> None:
        """Gives free places to the next photos; called with the lock held."""
        while self._free:
            has_room = self._large < self._places - 1
            turn = min((turn for turn in self._waiting if has_room or not turn.is_large), key=_rank, default=None)
            if turn is None:
                return
            self._waiting.remove(turn)
            self._working.add(turn)
            self._large += turn.is_large
            self._free -= 1
            turn.granted.set()

    def _decode(self, data: bytes, header: Header, deadline: float) -> DecodedImage:
        seconds = deadline - time.monotonic()
        if seconds < header.decode_seconds:
            raise DeadlineExceededError("too little time is left to decode the image; try again later")
        decoder = self._take()
        try:
            answer = decoder.decode(data, seconds)
        except (OSError, ValueError, LookupError, TypeError, MemoryError) as error:
            self._replace(decoder, error)
        self._idle.append(decoder)
        self._count_warnings(answer.warnings)
        if isinstance(answer.result, ImageError):
            raise answer.result
        return answer.result

    def _take(self) -> Decoder:
        with self._lock:
            while self._idle:
                decoder = self._idle.pop()
                if decoder.is_alive:
                    return decoder
                decoder.end()
        try:
            return self._new_decoder()
        except OSError as error:
            _logger.error("cannot start a decoder: %s", error)  # noqa: TRY400 - the system's reason is all there is
            raise OutOfResourcesError("no decoder can be started; try again later") from error

    def _new_decoder(self) -> Decoder:
        return Decoder(self._max_body_bytes, self._max_pixels)

    def _replace(self, decoder: Decoder, error: Exception) -> NoReturn:
        """Ends a decoder that has failed, starts another one, and raises the reason."""
        is_late = isinstance(error, TimeoutError)
        status = decoder.end()
        reason: Reason = (
            "memory" if isinstance(error, MemoryError)
            else "processor-time" if status == -signal.SIGXCPU
            else "deadline" if is_late
            else "crash"
        )  # fmt: skip
        self._metrics.decoders_replaced.labels(reason).inc()
        with contextlib.suppress(OSError):  # the next photo tries again
            self._idle.append(self._new_decoder())
        _logger.error("a decoder was replaced: %s (exit status %d)", reason, status)
        if reason == "deadline":
            raise DeadlineExceededError("the image was not decoded before the deadline; try again later") from error
        if reason == "memory" or status == -signal.SIGKILL:
            raise OutOfResourcesError("there was not enough memory to decode the image; try again later") from error
        raise CostlyImageError(
            f"expected an image that is decoded within {CPU_SECONDS} s of processor time, received one that ended its "
            "decoder; open it in an image viewer and save it again, smaller"
        ) from error

    def _count_warnings(self, warnings: dict[str, int]) -> None:
        for kind, count in warnings.items():
            self._metrics.decoder_warnings.labels(kind if kind in _WARNINGS else "other").inc(int(count))


def _rank(turn: _Turn) -> float:
    return turn.rank
