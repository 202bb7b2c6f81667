"""Connections: how many there may be, who waits on which for what, and who must go to make room."""

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
"""Files that the server needs for itself: it rests at a dozen, and reads bundles and static files."""

_FEWEST = 8

_logger = logging.getLogger("server")


class Phase(Enum):
    """What a connection waits for while no thread works on it."""

    READING = auto()
    """For the head of a request, or the rest of one."""
    WRITING = auto()
    """For the client to take an answer."""
    LINGERING = auto()
    """For the client to hang up, after the last answer."""


class Connection:
    """One client's connection.

    Args:
        cfg: gunicorn's settings.
        sock: The connection's socket.
        client: The client's address.
        server: The listener's address.

    Attributes:
        received: What has arrived of requests that no thread works on yet.
        searched: How much of that is known not to end a request's head.
        request: What it waits for the rest of, without a thread.
        skipped_bytes: How much of what comes next belongs to a body that nobody wants.
        is_new: Whether no request has been answered on it.
        stays: Whether another request may follow once the answer is sent.
        timeout: Value of `time.monotonic()` at which it has waited too long.
        write_end: Value at which its answer must have been taken.
    """

    def __init__(self, cfg: Any, sock: PatientSocket, client: Any, server: Any) -> None:
        self.sock, self.client, self.server = sock, client, server
        self.group = group_of(client)
        self.parser = StrictParser(cfg, sock, client)
        self.received = bytearray()
        self.searched = self.skipped_bytes = 0
        self.request: StrictRequest | None = None
        self.is_new = self.stays = True
        self.timeout = self.write_end = 0.0
        self.phase: Phase | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing has arrived that it would have to answer."""
        return not self.received and self.request is None

    def take(self, data: bytes) -> None:
        """Adds bytes that arrived."""
        skipped = min(self.skipped_bytes, len(data))
        self.skipped_bytes -= skipped
        self.received += data[skipped:] if skipped else data

    def next_request(self) -> StrictRequest:
        """Returns the request whose head has arrived.

        Raises:
            ParseException: It is none.
        """
        head, self.received, self.searched = bytes(self.received), bytearray(), 0
        return self.parser.next_request(head)

    def end_request(self, request: StrictRequest) -> None:
        """Goes on to what was received behind a request."""
        self.skipped_bytes = request.unread_bytes or 0
        self.take(bytes(self.parser.take_rest()))


class Connections:
    """The open connections of a listener.

    Args:
        most: How many there may be.
        most_of_group: How many of them may come from one address.
    """

    def __init__(self, most: int, most_of_group: int) -> None:
        self._most, self._most_of_group = most, most_of_group
        self._all: set[Connection] = set()
        self._groups: Counter[Any] = Counter()
        # A dictionary as an ordered set: who has waited longest is first.
        self._waiting: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    @property
    def is_full(self) -> bool:
        """Whether there is room for no other one."""
        return len(self._all) >= self._most

    def has_too_many_of(self, connection: Connection) -> bool:
        """Returns whether more connections than allowed come from where this one does."""
        return self._groups[connection.group] > self._most_of_group

    def add(self, connection: Connection) -> None:
        """Adds a new one."""
        self._all.add(connection)
        self._groups[connection.group] += 1

    def remove(self, connection: Connection) -> None:
        """Forgets one that is closed."""
        self.stop_waiting(connection)
        self._all.remove(connection)
        self._groups[connection.group] -= 1
        if not self._groups[connection.group]:
            del self._groups[connection.group]

    def wait(self, connection: Connection, phase: Phase) -> None:
        """Notes that one waits from now on."""
        self.stop_waiting(connection)
        connection.phase = phase
        self._waiting[connection] = None

    def stop_waiting(self, connection: Connection) -> None:
        """Notes that one does not wait any more."""
        connection.phase = None
        self._waiting.pop(connection, None)

    @property
    def waiting(self) -> list[Connection]:
        """Those that wait, the one that has waited longest first."""
        return list(self._waiting)

    def oldest(self, group: Any = None) -> Connection | None:
        """Returns who has waited longest, of all or of one address; None where nobody waits."""
        return next((item for item in self._waiting if group is None or item.group == group), None)


def group_of(client: Any) -> Any:
    """Returns what counts as one address: an IPv6 client has 2^64 of its own."""
    host = client[0] if isinstance(client, tuple) else client
    if ":" not in str(host):
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped) if address.ipv4_mapped else int(address) >> 64


def within_open_files(settings: ServerSettings) -> ServerSettings:
    """Returns settings with no more connections than this process may have files open, and says how many.

    Raises:
        ConfigError: There may be too few to serve at all.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    room = limit - OWN_FILES if limit != resource.RLIM_INFINITY else settings.max_connections
    if room < _FEWEST:
        raise ConfigError(
            f"expected {OWN_FILES + _FEWEST} open files or more, allowed are {limit}; raise the limit with ulimit -n"
        )
    most = min(settings.max_connections, room)
    # Some are left for others where one address may have very many.
    most_of_group = min(settings.max_connections_per_address, most - most // 4)
    _logger.info("at most %d connections, %d from one address; open files: %d", most, most_of_group, limit)
    return replace(settings, max_connections=most, max_connections_per_address=most_of_group)


def reset(sock: socket.socket) -> None:
    """Closes a connection with what the client has not taken, which the system would keep for minutes."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


def soon(seconds: float) -> float:
    """Returns the value of `time.monotonic()` in so many seconds."""
    return time.monotonic() + seconds
