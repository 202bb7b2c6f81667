"""The server's side of one decoding process: starts it, asks it and ends it."""

import contextlib
import json
import mmap
import os
import socket
import subprocess
import sys
import tempfile
from typing import IO, NamedTuple

import numpy as np

from model.config import IMAGE_PIXELS
from model.errors import CorruptImageError, ImageError, ImageTooLargeError, UnsupportedImageError
from model.image import DecodedImage
from server.decoding.program import LENGTH, PIXEL_BYTES
from server.setting_values import ENVIRONMENT_PREFIX

_ANSWER_BYTES = 64 * 1024

# The running interpreter itself: its path may have been replaced, or be closed to this user.
_INTERPRETER = "/proc/self/exe" if sys.platform == "linux" else None

_REFUSALS = {error.__name__: error for error in (CorruptImageError, ImageTooLargeError, UnsupportedImageError)}


class Answer(NamedTuple):
    """A decoder's answer: an image or a refusal, and its warnings, counted by kind."""

    result: DecodedImage | ImageError
    warnings: dict[str, int]


class Decoder:
    """One decoding process, and the memory shared with it.

    Args:
        max_body_bytes: Size of the largest photo, in bytes.
        max_pixels: Largest width times height of a photo.

    Raises:
        OSError: The system has no process, descriptor or memory left.
    """

    def __init__(self, max_body_bytes: int, max_pixels: int) -> None:
        self._channel, theirs = socket.socketpair()
        try:
            with theirs, _memory_file(max_body_bytes + PIXEL_BYTES) as file:
                self._memory = mmap.mmap(file.fileno(), 0)
                self._process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - our own program
                    [sys.executable, "-m", "server.decoding.program", str(file.fileno()), str(max_pixels)],
                    executable=_INTERPRETER,
                    stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    pass_fds=[file.fileno()], env=_environment(), start_new_session=True,
                )  # fmt: skip
        except OSError:
            self._channel.close()
            raise

    @property
    def is_alive(self) -> bool:
        """Returns whether the process runs."""
        return self._process.poll() is None

    @property
    def process_id(self) -> int:
        """Returns the id of the process."""
        return self._process.pid

    def decode(self, data: bytes, seconds: float) -> Answer:
        """Decodes a photo.

        Args:
            data: The whole file.
            seconds: Time to wait for the answer.

        Returns:
            The image or the decoder's refusal, and its warnings.

        Raises:
            TimeoutError: There was no answer in time.
            OSError: The process has ended.
            MemoryError: It had too little memory.
            ValueError: The answer is malformed; so are LookupError and TypeError.
        """
        self._memory[: len(data)] = data
        self._channel.settimeout(seconds)
        self._channel.sendall(LENGTH.pack(len(data)))
        answer = json.loads(self._read_line())
        if answer.get("error") == MemoryError.__name__:
            raise MemoryError
        if "error" in answer:
            return Answer(_REFUSALS[answer["error"]](str(answer["message"])), answer["warnings"])
        pixels = np.frombuffer(self._memory[-PIXEL_BYTES:], np.uint8).reshape(IMAGE_PIXELS, IMAGE_PIXELS, 3)
        return Answer(DecodedImage(pixels, int(answer["width"]), int(answer["height"])), answer["warnings"])

    def _read_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            block = self._channel.recv(_ANSWER_BYTES)
            if not block or len(line) > _ANSWER_BYTES:
                raise ConnectionError("the decoder has ended without an answer")
            line += block
        return line

    def end(self) -> int:
        """Ends the process if it still runs, and returns its exit status; below 0 if a signal ended it."""
        self._channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            # A crashed process may close its end of the socket before it has an exit status.
            return self._process.wait(0.2)
        self._process.kill()
        return self._process.wait()


def _environment() -> dict[str, str]:
    """Returns the environment of a decoder: without secrets, and without NumPy's threads."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    return others | {"OPENBLAS_NUM_THREADS": "1"}


def _memory_file(size: int) -> IO[bytes]:
    """Returns an open file without a name, `size` bytes long; pages take memory once they are written."""
    named = os.memfd_create("photo") if hasattr(os, "memfd_create") else -1
    file: IO[bytes] = os.fdopen(named, "r+b") if named >= 0 else tempfile.TemporaryFile()  # noqa: SIM115 - for the caller
    file.truncate(size)
    return file
