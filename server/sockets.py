"""A connection on which a request must arrive in time, however slowly its bytes come."""

import socket
import time

from server.errors import SlowClientError

SEND_SECONDS = 30.0
"""Time for a client to take one piece of an answer."""


class PatientSocket(socket.socket):
    """Is a socket whose `recv` counts the time of the whole request.

    A time limit of the system's is for each `recv`, so that a client with a byte a second would never reach it.

    Attributes:
        deadline: Value of `time.monotonic()` after which nothing more is read; None for no limit.
        has_expired: Whether the deadline passed before the request was whole.
    """

    deadline: float | None = None
    has_expired = False

    @classmethod
    def taking_over(cls, other: socket.socket) -> "PatientSocket":
        """Returns a socket of the same connection; the other one is closed by that."""
        return other if isinstance(other, cls) else cls(fileno=other.detach())

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Reads what there is, as `socket.recv` does.

        Raises:
            SlowClientError: The deadline passed.
        """
        if self.deadline is None:
            return super().recv(size, flags)
        try:
            self.settimeout(_until(self.deadline))
            return super().recv(size, flags)
        except TimeoutError as error:
            self.has_expired = True
            raise SlowClientError(
                "expected the whole request before the time for it was over, received a part; send smaller images"
            ) from error
        finally:
            self.settimeout(SEND_SECONDS)


def _until(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:  # a time limit of 0 would mean not to wait at all
        raise TimeoutError
    return seconds
