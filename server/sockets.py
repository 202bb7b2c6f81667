"""A connection's socket on which no call waits longer than it may."""

import select
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from server.errors import BodyTooLargeError, SlowClientError

STALL_SECONDS = 10.0
"""Time for a client to send or take the next bytes, where any are wanted."""

_EVERY_REQUEST_BYTES = 1024**2
"""What a request may have beside its body: its head, which is limited elsewhere, and the framing of chunks."""


class Turn:
    """One of few that work at the same time, until it ends.

    Args:
        places: As many as may work.
    """

    def __init__(self, places: threading.Semaphore) -> None:
        self._places: threading.Semaphore | None = places
        places.acquire()

    def end(self) -> None:
        """Lets another one work; nothing the second time."""
        places, self._places = self._places, None
        if places is not None:
            places.release()


class PatientSocket(socket.socket):
    """A non-blocking socket that waits in `recv` alone, and only until a deadline.

    A time limit of the system's is for each `recv`, so that a client with a byte a second would never reach it. An
    answer is kept until `flush`, which sends what the system takes at once: no thread waits for a client to read.

    Attributes:
        unsent: What is still to be sent.
        has_whole_request: Whether a small request has arrived as a whole, so that it will not be waited for.
        turn: What the request holds until its body is wanted.
        has_expired: Whether the deadline passed before the request was whole.
    """

    def __init__(self, family: int, kind: int, protocol: int, descriptor: int) -> None:
        super().__init__(family, kind, protocol, fileno=descriptor)
        self.setblocking(False)
        self.unsent = bytearray()
        self.turn: Turn | None = None
        self.has_whole_request = False
        self.has_expired = False
        self._deadline, self._allowed_bytes = 0.0, 0

    @classmethod
    def taking_over(cls, other: socket.socket) -> "PatientSocket":
        """Returns a socket of the same connection; the other one is closed by that."""
        return cls(other.family, other.type, other.proto, other.detach())

    def allow(self, seconds: float, body_bytes: int) -> None:
        """Lets a request with a body of at most so many bytes arrive within so many seconds from now."""
        self.allow_time(seconds)
        # Chunks need not be larger than their framing, but nobody sends such without meaning it.
        self._allowed_bytes = 2 * body_bytes + _EVERY_REQUEST_BYTES

    def allow_time(self, seconds: float) -> None:
        """Lets the request arrive within so many seconds from now; with 0, nothing is waited for."""
        self._deadline = time.monotonic() + seconds if seconds else 0.0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Reads what there is, or waits for it.

        Raises:
            SlowClientError: The deadline passed.
            BodyTooLargeError: More came than was allowed.
        """
        while True:
            try:
                data = super().recv(size, flags)
            except BlockingIOError:
                self._wait()
                continue
            self._allowed_bytes -= len(data)
            if self._allowed_bytes < 0:
                raise BodyTooLargeError("expected a body within the limit, chunks included, received more")
            return data

    def recv_now(self, size: int) -> bytes:
        """Reads what there is.

        Raises:
            BlockingIOError: There is nothing.
        """
        return super().recv(size)

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Sends at once what the system takes of an interim answer, and keeps the rest; returns the length of all."""
        self.sendall(data, flags)
        self.flush()
        return len(data)

    def sendall(self, data: Any, _flags: int = 0, /) -> None:
        """Keeps a part of the answer."""
        self.unsent += data

    def flush(self) -> bool:
        """Sends of the answer what the system takes at once; returns whether that was all."""
        try:
            while self.unsent:
                del self.unsent[: super().send(self.unsent)]
        except BlockingIOError:
            return False
        return True

    def _wait(self) -> None:
        # On a full system poll() needs no descriptor of its own, unlike a selector.
        poller = select.poll()
        poller.register(self.fileno(), select.POLLIN)
        seconds = min(self._deadline - time.monotonic(), STALL_SECONDS)
        if seconds > 0 and poller.poll(seconds * 1000):
            return
        self.has_expired = True
        raise SlowClientError(
            "expected the whole request before the time for it was over, received a part; send smaller images"
        )


def wait_outside(environ: Mapping[str, Any]) -> None:
    """Lets others work, because the request waits for its body from now on.

    Args:
        environ: The request's, as gunicorn made it; where another server did, nothing happens.
    """
    connection = environ.get("gunicorn.socket")
    if isinstance(connection, PatientSocket) and connection.turn is not None:
        connection.turn.end()


def has_arrived(environ: Mapping[str, Any]) -> bool:
    """Returns whether the body of a request is in memory already, and small.

    Args:
        environ: The request's, as gunicorn made it; where another server did, nobody knows.
    """
    connection = environ.get("gunicorn.socket")
    return isinstance(connection, PatientSocket) and connection.has_whole_request


def begin_arrival(environ: Mapping[str, Any], seconds: float) -> None:
    """Begins to count the time in which the body of a request must arrive; before, it was not the client that was slow.

    Args:
        environ: The request's, as gunicorn made it; where another server did, nothing happens.
        seconds: The time.
    """
    connection = environ.get("gunicorn.socket")
    if isinstance(connection, PatientSocket):
        connection.allow_time(seconds)
