"""Accepts connections, and survives a system without free file descriptors."""

import contextlib
import errno
import logging
import os
import selectors
import socket
import time
from typing import Any, Protocol

from server.connections import soon

UNSENT_BYTES = 128 * 1024
"""Bytes of answers that the system buffers for a client, besides those on their way."""

SHORTAGES = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Error numbers of a temporary shortage in the system."""

_ACCEPTED_AT_ONCE = 32
_PAUSE_SECONDS = 0.1
_SAY_SECONDS = 10.0

_logger = logging.getLogger("server")


class Host(Protocol):
    """The owner of accepted connections."""

    @property
    def is_full(self) -> bool:
        """Whether no more connections are allowed."""

    def make_room(self) -> bool:
        """Closes a waiting connection; returns whether there was one."""

    def admit(self, client: socket.socket, address: Any, server: Any) -> None:
        """Takes over a new connection."""


class Door:
    """A listening socket that accepts connections while there is room.

    Args:
        host: Takes over accepted connections.
        listener: The listening socket.
        poller: Reports when connections wait.
    """

    def __init__(self, host: Host, listener: socket.socket, poller: selectors.BaseSelector) -> None:
        self._host = host
        self._listener = listener
        self._poller = poller
        # gunicorn splits a Unix socket's path at colons, to tell the application a name that it does not need.
        is_unix = listener.family is socket.AF_UNIX
        self._address = ("localhost", 80) if is_unix else listener.getsockname()
        self._paused_until: float | None = None
        self._is_closing = False
        self._said_at = -_SAY_SECONDS
        self._reserve = _spare()
        listener.setblocking(False)
        # Inherited by connections. Without it, megabytes of answers are buffered for a client that reads nothing.
        if hasattr(socket, "TCP_NOTSENT_LOWAT") and not is_unix:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        poller.register(listener, selectors.EVENT_READ, self._accept)

    def look(self) -> None:
        """Resumes accepting when the pause is over."""
        if self._paused_until is not None and time.monotonic() >= self._paused_until:
            self._paused_until = None
            self._poller.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Accepts the connections that wait already, then closes the listening socket."""
        self._is_closing = True
        if self._paused_until is None:
            self._poller.unregister(self._listener)
        self._paused_until = None
        while not self._host.is_full and self._accept(self._listener):
            pass
        # The master has closed its copy by now, so later clients are refused by the system.
        self._listener.close()

    def _accept(self, listener: socket.socket) -> bool:
        """Accepts some waiting connections; returns whether there may be more."""
        for _ in range(_ACCEPTED_AT_ONCE):
            if self._host.is_full and not self._host.make_room():
                self._pause()
                return False
            try:
                client, address = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return False
            except OSError as error:
                self._shed(error)
                return False
            self._host.admit(client, address, self._address)
        return True

    def _shed(self, error: OSError) -> None:
        """Closes a waiting connection, or the new one, and pauses accepting."""
        if time.monotonic() - self._said_at > _SAY_SECONDS:
            self._said_at = time.monotonic()
            _logger.warning(
                "cannot accept a connection: %s; trying again; raise the limit of open files", error.strerror
            )
        if error.errno in SHORTAGES and not self._host.make_room() and self._reserve is not None:
            os.close(self._reserve)
            with contextlib.suppress(OSError):
                self._listener.accept()[0].close()
            self._reserve = _spare()
        self._pause()

    def _pause(self) -> None:
        if self._paused_until is None and not self._is_closing:
            self._poller.unregister(self._listener)
            self._paused_until = soon(_PAUSE_SECONDS)


def _spare() -> int | None:
    """Opens a spare file, to be closed when descriptors run out."""
    with contextlib.suppress(OSError):
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    return None
