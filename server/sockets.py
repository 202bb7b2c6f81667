"""Sockets whose calls never wait longer than a deadline."""

import select
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from server.errors import BodyTooLargeError, SlowClientError

STALL_SECONDS = 10.0
"""Time for a client to send or read the next bytes, in seconds."""

_EVERY_REQUEST_BYTES = 1024**2
"""Bytes of a request besides its body: its head, which is limited elsewhere, and the framing of chunks."""


class Turn:
    """One of few places to work at the same time, held until `end`.

    Args:
        places: All places.
    """

    def __init__(self, places: threading.Semaphore) -> None:
        self._places: threading.Semaphore | None = places
        places.acquire()

    def end(self) -> None:
        """Frees the place; a second call does nothing."""
        places = self._places
        self._places = None
        if places is not None:
            places.release()


class PatientSocket(socket.socket):
    """A non-blocking socket that waits only in `recv`, and only until a deadline.

    A socket's own timeout applies to each `recv`: a client that sends a byte a second would never reach it. An
    answer is kept until `flush`, which sends what the system accepts at once: no thread waits for a client to read.

    Attributes:
        unsent: The rest of the answer.
        has_whole_request: Whether a small request has arrived as a whole, so that no thread waits for it.
        turn: The request's place, until its body is read.
        has_expired: Whether the deadline passed before the request was whole.
    """

    def __init__(self, family: int, kind: int, protocol: int, descriptor: int) -> None:
        super().__init__(family, kind, protocol, fileno=descriptor)
        self.setblocking(False)
        self.unsent = bytearray()
        self.turn: Turn | None = None
        self.has_whole_request = False
        self.has_expired = False
        self._deadline = 0.0
        self._allowed_bytes = 0

    @classmethod
    def taking_over(cls, other: socket.socket) -> "PatientSocket":
        """Returns a socket of the same connection; the other one is detached."""
        return cls(other.family, other.type, other.proto, other.detach())

    def allow(self, seconds: float, body_bytes: int) -> None:
        """Sets the limits of a request: its time from now, and the size of its body."""
        self.allow_time(seconds)
        # Chunks may be as small as their framing; only an attacker sends smaller ones.
        self._allowed_bytes = 2 * body_bytes + _EVERY_REQUEST_BYTES

    def allow_time(self, seconds: float) -> None:
        """Sets the time for the request to arrive, from now; with 0, `recv` never waits."""
        self._deadline = time.monotonic() + seconds if seconds else 0.0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Returns received bytes; waits for them if there are none.

        Raises:
            SlowClientError: The deadline passed.
            BodyTooLargeError: More came than allowed.
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
        """Returns received bytes.

        Raises:
            BlockingIOError: There is nothing.
        """
        return super().recv(size)

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Adds an interim answer and begins to send it; returns its length."""
        self.sendall(data, flags)
        self.flush()
        return len(data)

    def sendall(self, data: Any, _flags: int = 0, /) -> None:
        """Adds a part of the answer, to be sent by `flush`."""
        self.unsent += data

    def flush(self) -> bool:
        """Sends what the system accepts at once; returns whether that was everything."""
        try:
            while self.unsent:
                del self.unsent[: super().send(self.unsent)]
        except BlockingIOError:
            return False
        return True

    def _wait(self) -> None:
        # Unlike a selector, poll() needs no descriptor, of which the system may have none left.
        poller = select.poll()
        poller.register(self.fileno(), select.POLLIN)
        seconds = min(self._deadline - time.monotonic(), STALL_SECONDS)
        if seconds > 0 and poller.poll(seconds * 1000):
            return
        self.has_expired = True
        raise SlowClientError("the request did not arrive in time; send smaller images or use a faster connection")


def wait_outside(environ: Mapping[str, Any]) -> None:
    """Frees the request's place, because it waits for its body from now on.

    Args:
        environ: The request's WSGI environment; under another server than gunicorn nothing happens.
    """
    connection = environ.get("gunicorn.socket")
    if isinstance(connection, PatientSocket) and connection.turn is not None:
        connection.turn.end()


def has_arrived(environ: Mapping[str, Any]) -> bool:
    """Returns whether a request's body is small and in memory already.

    Args:
        environ: The request's WSGI environment; under another server than gunicorn the answer is False.
    """
    connection = environ.get("gunicorn.socket")
    return isinstance(connection, PatientSocket) and connection.has_whole_request


def begin_arrival(environ: Mapping[str, Any], seconds: float) -> None:
    """Starts the clock for a request's body; until now the server, not the client, was slow.

    Args:
        environ: The request's WSGI environment; under another server than gunicorn nothing happens.
        seconds: The time.
    """
    connection = environ.get("gunicorn.socket")
    if isinstance(connection, PatientSocket):
        connection.allow_time(seconds)
