"""The door: accepts connections, and lives through a system that has no descriptor left for them."""

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
"""How much of its answers the system keeps for a client, beside what is on its way."""

SHORTAGES = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What a system says that lacks something which it may have again soon."""

_ACCEPTED_AT_ONCE = 32
_PAUSE_SECONDS = 0.1
_SAY_SECONDS = 10.0

_logger = logging.getLogger("server")


class Host(Protocol):
    """Whoever takes in those who come."""

    @property
    def is_full(self) -> bool:
        """Whether there is no room."""

    def make_room(self) -> bool:
        """Sends somebody away; returns whether there was anybody to send."""

    def admit(self, client: socket.socket, address: Any, server: Any) -> None:
        """Takes in a new connection."""


class Door:
    """A listener that accepts while there is room.

    Args:
        host: Where connections go.
        listener: What they come to.
        poller: Tells when they do.
    """

    def __init__(self, host: Host, listener: socket.socket, poller: selectors.BaseSelector) -> None:
        self._host, self._listener, self._poller = host, listener, poller
        self._address = listener.getsockname()
        self._paused_until: float | None = None
        self._is_closing = False
        self._said_at = -_SAY_SECONDS
        self._reserve = _spare()
        listener.setblocking(False)
        # Inherited by connections. Without it, megabytes of answers are made for a client that reads none of them.
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        poller.register(listener, selectors.EVENT_READ, self._accept)

    def look(self) -> None:
        """Goes on when the pause is over."""
        if self._paused_until is not None and time.monotonic() >= self._paused_until:
            self._paused_until = None
            self._poller.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Takes in who waits in front of it, and refuses who comes later."""
        self._is_closing = True
        if self._paused_until is None:
            self._poller.unregister(self._listener)
        self._paused_until = None
        while not self._host.is_full and self._accept(self._listener):
            pass
        # The master has closed its copy by now, so this is the end of the address.
        self._listener.close()

    def _accept(self, listener: socket.socket) -> bool:
        """Takes in some of those who wait; returns whether there may be more of them."""
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
        """Sends somebody away, or the one who comes, and takes a rest."""
        if time.monotonic() - self._said_at > _SAY_SECONDS:
            self._said_at = time.monotonic()
            _logger.warning(
                "cannot accept a connection: %s; trying again, raise the limit of open files", error.strerror
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
    """Opens a file that is there to be closed when there are no more to be had."""
    with contextlib.suppress(OSError):
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    return None
