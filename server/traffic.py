"""Handles connections in the worker's main loop while no thread works on them.

Nothing here waits. A thread takes a request only once its head has arrived, and is free again as soon as the
answer is made: a client that sends slowly, says nothing or does not read costs memory, not a thread.
"""

import contextlib
import selectors
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from server.accepting import Door
from server.connections import Connection, Connections, Phase, reset, soon
from server.errors import NotServedError, SlowClientError
from server.metrics import ServerMetrics
from server.parsing import StrictRequest, has_whole_head
from server.sockets import STALL_SECONDS, PatientSocket

ANSWER_SECONDS = 60.0
"""Time for a client to read a whole answer, in seconds."""

LINGER_SECONDS = 2.0
"""Lingering close: time for a client to close after the last answer, so that it can read it (RFC 9112, 9.6)."""

STOP_SECONDS = 2.0
"""Time for waiting connections when the server stops, unless a request has begun to arrive."""

_BLOCK_BYTES = 64 * 1024


class Owner(Protocol):
    """The worker, as far as connections need it.

    Attributes:
        app: The application, whose metrics count connections.
        cfg: gunicorn's settings.
        poller: Reports which sockets can be read and written.
    """

    app: Any
    cfg: Any
    poller: selectors.BaseSelector

    def begin(self, traffic: "Traffic", connection: Connection, request: StrictRequest) -> None:
        """Gives a request to a thread; afterwards calls `traffic.answered` in the main loop."""

    def refuse(self, connection: Connection, error: Exception) -> None:
        """Writes the answer to something that is no request."""


class Traffic:
    """The connections of one listening socket, and what they wait for.

    Args:
        owner: Takes requests.
        listener: The listening socket.
        connections: The open connections.
        request_seconds: Time for the head of a request to arrive.
        paths: Paths served here; None for all.
    """

    def __init__(
        self,
        owner: Owner,
        listener: socket.socket,
        connections: Connections,
        request_seconds: float,
        paths: frozenset[str] | None,
    ) -> None:
        self.paths = paths
        self._owner = owner
        self._poller = owner.poller
        self._keepalive_seconds: float = owner.app.settings.keepalive_seconds
        self._metrics: ServerMetrics = owner.app.metrics
        self._connections = connections
        self._request_seconds = request_seconds
        self._is_stopping = False
        self._door = Door(self, listener, owner.poller)

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def is_full(self) -> bool:
        """Whether no more connections are allowed."""
        return self._connections.is_full

    def make_room(self, group: Any = None) -> bool:
        """Closes the connection that has waited longest, of all or of one address; returns whether there was one."""
        oldest = self._connections.oldest(group)
        if oldest is not None:
            self._close(oldest, "evicted")
        return oldest is not None

    def admit(self, client: socket.socket, address: Any, server: Any) -> None:
        """Waits for a new client's request, unless its address has too many connections."""
        connection = Connection(self._owner.cfg, PatientSocket.taking_over(client), address, server)
        self._connections.add(connection)
        if self._connections.has_too_many_of(connection) and not self.make_room(connection.group):
            self._close(connection, "refused")
        else:
            self._serve(connection, lambda: self._read_on(connection))

    def stop(self) -> None:
        """Accepts waiting connections, refuses later ones, and limits the time of those that are idle."""
        self._is_stopping = True
        self._door.close()
        end = soon(STOP_SECONDS)
        for connection in self._connections.waiting:
            if connection.phase is not Phase.READING or connection.is_idle:
                connection.timeout = min(connection.timeout, end)

    def look(self) -> None:
        """Answers or closes connections that have waited too long."""
        now = time.monotonic()
        self._door.look()
        for connection in self._connections.waiting:
            if connection.timeout > now:
                continue
            if connection.phase is Phase.READING and not connection.is_idle:
                error = SlowClientError("the request did not arrive in time; use a faster connection")
                self._serve(connection, partial(self._refuse, connection, error))
            else:
                self._close(connection, "unread" if connection.phase is Phase.WRITING else None)

    def close_all(self) -> None:
        """Closes all waiting connections."""
        for connection in self._connections.waiting:
            self._close(connection)

    def answered(self, connection: Connection, request: StrictRequest, stays: bool) -> None:
        """Sends a thread's answer, and continues with the connection."""
        connection.stays = stays
        if connection.sock.fileno() < 0:
            self._close(connection)
        else:
            self._serve(connection, lambda: self._end(connection, request))

    # Reading

    def _read_on(self, connection: Connection) -> None:
        """Starts a request that has arrived, or waits for one."""
        if self._begins(connection):
            return
        seconds = self._request_seconds if connection.received or connection.is_new else self._keepalive_seconds
        if self._is_stopping and not connection.received and not connection.is_new:
            seconds = min(seconds, STOP_SECONDS)
        connection.timeout = soon(seconds)
        self._wait(connection, Phase.READING, self._on_readable)

    def _on_readable(self, connection: Connection, _sock: socket.socket) -> None:
        self._serve(connection, lambda: self._read(connection))

    def _read(self, connection: Connection) -> None:
        data = connection.sock.recv_now(_BLOCK_BYTES)
        if connection.request is not None:
            self._read_body(connection, connection.request, data)
            return
        if not data:
            self._close(connection)
            return
        if not connection.received and not connection.is_new:
            connection.timeout = soon(self._request_seconds)
        connection.take(data)
        self._begins(connection)

    def _read_body(self, connection: Connection, request: StrictRequest, data: bytes) -> None:
        connection.parser.add(data)
        if not data or not request.missing_bytes:
            self._stop_waiting(connection)
            connection.request = None
            self._owner.begin(self, connection, request)

    def _begins(self, connection: Connection) -> bool:
        """Gives a request to a thread once its head is there; returns whether it was, or can never be."""
        if not connection.received:
            return False
        try:
            if not has_whole_head(connection.received, connection.searched):
                connection.searched = len(connection.received)
                return False
            self._stop_waiting(connection)
            request = self._served(connection.next_request())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this client's alone
            self._refuse(connection, error)
            return True
        if request.missing_bytes:
            connection.request = request
            connection.timeout = soon(self._request_seconds)
            self._wait(connection, Phase.READING, self._on_readable)
        else:
            self._owner.begin(self, connection, request)
        return True

    def _served(self, request: StrictRequest) -> StrictRequest:
        if self.paths is not None and request.path not in self.paths:
            known = ", ".join(sorted(self.paths))
            raise NotServedError(f"expected one of {known} on this port, received another path; use the main port")
        return request

    def _refuse(self, connection: Connection, error: Exception) -> None:
        self._stop_waiting(connection)
        connection.request = None
        self._owner.refuse(connection, error)
        connection.stays = False
        self._write(connection)

    # Writing

    def _end(self, connection: Connection, request: StrictRequest) -> None:
        if connection.stays:
            connection.end_request(request)
        self._write(connection)

    def _write(self, connection: Connection) -> None:
        if connection.sock.flush():
            self._written(connection)
            return
        connection.write_end = soon(ANSWER_SECONDS)
        connection.timeout = soon(STOP_SECONDS if self._is_stopping else STALL_SECONDS)
        self._wait(connection, Phase.WRITING, self._on_writable, selectors.EVENT_WRITE)

    def _on_writable(self, connection: Connection, _sock: socket.socket) -> None:
        self._serve(connection, lambda: self._write_on(connection))

    def _write_on(self, connection: Connection) -> None:
        if connection.sock.flush():
            self._stop_waiting(connection)
            self._written(connection)
            return
        stall = STOP_SECONDS if self._is_stopping else STALL_SECONDS
        connection.timeout = min(soon(stall), connection.write_end)
        self._connections.wait(connection, Phase.WRITING)

    def _written(self, connection: Connection) -> None:
        if connection.stays:
            connection.is_new = False
            self._read_on(connection)
            return
        connection.sock.shutdown(socket.SHUT_WR)
        connection.timeout = soon(LINGER_SECONDS)
        self._wait(connection, Phase.LINGERING, self._on_lingering)

    def _on_lingering(self, connection: Connection, _sock: socket.socket) -> None:
        self._serve(connection, lambda: None if connection.sock.recv_now(_BLOCK_BYTES) else self._close(connection))

    # Waiting

    def _wait(self, connection: Connection, phase: Phase, ready: Any, event: int = selectors.EVENT_READ) -> None:
        self._poller.register(connection.sock, event, partial(ready, connection))
        self._connections.wait(connection, phase)

    def _stop_waiting(self, connection: Connection) -> None:
        if connection.phase is not None:
            self._connections.stop_waiting(connection)
            self._poller.unregister(connection.sock)

    def _close(self, connection: Connection, reason: str | None = None) -> None:
        self._stop_waiting(connection)
        self._connections.remove(connection)
        if reason is not None:
            self._metrics.connections_cut.labels(reason).inc()
        with contextlib.suppress(OSError):
            if connection.sock.unsent:
                reset(connection.sock)
            else:
                connection.sock.close()

    def _serve(self, connection: Connection, step: Callable[[], None]) -> None:
        """Runs a step on a connection that the client may break at any time."""
        if connection.sock.fileno() < 0:
            return  # closed to make room for another one that was ready at the same moment
        try:
            step()
        except BlockingIOError:
            pass  # woken for nothing
        except OSError:
            self._close(connection)
