"""Counts open connections, and keeps what each one waits for, longest first."""

import ipaddress
import logging
import resource
import socket
import time
from collections import Counter
from dataclasses import replace
from enum import Enum, auto
from typing import Any

from model.errors import ConfigError
from server.parsing import StrictParser, StrictRequest
from server.settings import ServerSettings
from server.sockets import PatientSocket

OWN_FILES = 48
"""Open files that the server itself needs: a dozen when idle, more while it reads bundles and static files."""

_FEWEST = 8

_logger = logging.getLogger("server")


class Phase(Enum):
    """What a connection waits for while no thread works on it."""

    READING = auto()
    """For a request's head, or the rest of its body."""
    WRITING = auto()
    """For the client to take an answer."""
    LINGERING = auto()
    """For the client to close the connection after the last answer (lingering close)."""


class Connection:
    """One client's connection.

    Args:
        cfg: gunicorn's settings.
        sock: The connection's socket.
        client: The client's address.
        server: The listener's address.

    Attributes:
        received: Bytes of requests that no thread works on yet.
        searched: How many of them were searched for the end of a head already.
        request: The request whose body is still arriving, without a thread.
        skipped_bytes: How many of the next bytes belong to an unread body and are dropped.
        is_new: Whether it has answered no request yet.
        stays: Whether another request may follow once the answer is sent.
        timeout: Value of `time.monotonic()` after which it is closed.
        write_end: Value by which the client must have read the answer.
    """

    def __init__(self, cfg: Any, sock: PatientSocket, client: Any, server: Any) -> None:
        self.sock = sock
        self.client = client
        self.server = server
        self.group = group_of(client)
        self.parser = StrictParser(cfg, sock, client)
        self.received = bytearray()
        self.searched = 0
        self.skipped_bytes = 0
        self.request: StrictRequest | None = None
        self.is_new = True
        self.stays = True
        self.timeout = 0.0
        self.write_end = 0.0
        self.phase: Phase | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no part of a request has arrived."""
        return not self.received and self.request is None

    def take(self, data: bytes) -> None:
        """Adds received bytes."""
        skipped = min(self.skipped_bytes, len(data))
        self.skipped_bytes -= skipped
        self.received += data[skipped:] if skipped else data

    def next_request(self) -> StrictRequest:
        """Returns the request whose head has arrived.

        Raises:
            ParseException: It is none.
        """
        head = bytes(self.received)
        self.received = bytearray()
        self.searched = 0
        return self.parser.next_request(head)

    def end_request(self, request: StrictRequest) -> None:
        """Continues with the bytes received behind a request."""
        self.skipped_bytes = request.unread_bytes or 0
        self.take(bytes(self.parser.take_rest()))


class Connections:
    """The open connections of a listening socket.

    Args:
        most: Most connections.
        most_of_group: Most connections from one address.
    """

    def __init__(self, most: int, most_of_group: int) -> None:
        self._most = most
        self._most_of_group = most_of_group
        self._all: set[Connection] = set()
        self._groups: Counter[Any] = Counter()
        # A dictionary as an ordered set: the one that has waited longest is first.
        self._waiting: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    @property
    def is_full(self) -> bool:
        """Whether no more connections are allowed."""
        return len(self._all) >= self._most

    def has_too_many_of(self, connection: Connection) -> bool:
        """Returns whether this connection's address has more connections than allowed."""
        return self._groups[connection.group] > self._most_of_group

    def add(self, connection: Connection) -> None:
        """Adds a new connection."""
        self._all.add(connection)
        self._groups[connection.group] += 1

    def remove(self, connection: Connection) -> None:
        """Removes a closed connection."""
        self.stop_waiting(connection)
        self._all.remove(connection)
        self._groups[connection.group] -= 1
        if not self._groups[connection.group]:
            del self._groups[connection.group]

    def wait(self, connection: Connection, phase: Phase) -> None:
        """Notes that a connection waits from now on."""
        self.stop_waiting(connection)
        connection.phase = phase
        self._waiting[connection] = None

    def stop_waiting(self, connection: Connection) -> None:
        """Notes that a connection no longer waits."""
        connection.phase = None
        self._waiting.pop(connection, None)

    @property
    def waiting(self) -> list[Connection]:
        """The waiting connections, longest first."""
        return list(self._waiting)

    def oldest(self, group: Any = None) -> Connection | None:
        """Returns the connection that has waited longest, of all or of one address; None if none waits."""
        return next((item for item in self._waiting if group is None or item.group == group), None)


def group_of(client: Any) -> Any:
    """Returns what counts as one address: an IPv4 address, or the /64 of an IPv6 client."""
    host = client[0] if isinstance(client, tuple) else client
    if ":" not in str(host):
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped) if address.ipv4_mapped else int(address) >> 64


def within_open_files(settings: ServerSettings) -> ServerSettings:
    """Returns settings with connections limited by the open-file limit, and logs the numbers.

    Raises:
        ConfigError: The open-file limit is too low to serve at all.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    room = limit - OWN_FILES if limit != resource.RLIM_INFINITY else settings.max_connections
    if room < _FEWEST:
        raise ConfigError(
            f"expected {OWN_FILES + _FEWEST} open files or more, allowed are {limit}; raise the limit with ulimit -n"
        )
    most = min(settings.max_connections, room)
    # A quarter is left for other addresses.
    most_of_group = min(settings.max_connections_per_address, most - most // 4)
    _logger.info("at most %d connections, %d from one address; open files: %d", most, most_of_group, limit)
    return replace(settings, max_connections=most, max_connections_per_address=most_of_group)


def reset(sock: socket.socket) -> None:
    """Closes a connection by a reset: the system would keep unread answers for minutes otherwise."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


def soon(seconds: float) -> float:
    """Returns the value of `time.monotonic()` so many seconds from now."""
    return time.monotonic() + seconds
