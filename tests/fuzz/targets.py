"""What is fuzzed, and what counts as a finding."""

import io
import os
import re
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from flask import Request

from model.errors import ImageError
from model.image import max_decoded_bytes, read_image
from server.errors import BodyTooLargeError, MalformedBodyError
from server.settings import ServerSettings

MAX_PIXELS = 5_000_000
"""Enough for what grows with the pixels to show, and few enough for many files a second."""

CPU_SECONDS = 1.0
SPARE_BYTES = 32 * 1024**2
"""For bands of lines and what the allocator keeps."""

Target = Callable[[bytes], object]

_SETTINGS = ServerSettings(max_body_bytes=1024**2)


def read_photo(data: bytes) -> None:
    """Reads bytes as an upload is read."""
    try:
        image = read_image(data, max_pixels=MAX_PIXELS)
    except ImageError:
        return
    if image.pixels.shape != (224, 224, 3):
        raise ValueError(f"expected pixels of shape (224, 224, 3), received {image.pixels.shape}")


def read_request(data: bytes) -> None:
    """Reads a request: its content type up to the first line feed, and its body."""
    from server.bodies import read_body
    from server.uploads import images_in

    kind, _, body = data.partition(b"\n")
    request = Request(
        {
            "REQUEST_METHOD": "POST", "CONTENT_TYPE": kind.decode("latin-1"), "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
        }
    )  # fmt: skip
    try:
        images = images_in(read_body(request, _SETTINGS.max_body_bytes), request, _SETTINGS.max_images)
    except (MalformedBodyError, BodyTooLargeError):
        return
    if not images or sum(map(len, images)) > len(body):
        raise ValueError("expected images that are parts of the body, received others")


TARGETS: Mapping[str, Target] = MappingProxyType({"image": read_photo, "form": read_request})


class Peak:
    """The peak of resident memory; 0 where the system does not tell it."""

    def __init__(self) -> None:
        self._status = _opened("/proc/self/status", os.O_RDONLY)
        self._clear = _opened("/proc/self/clear_refs", os.O_WRONLY)

    def forget(self) -> int:
        """Sets the peak to what is resident now, and returns that in bytes."""
        if self._clear is not None:
            os.pwrite(self._clear, b"5", 0)
        return self.read()

    def read(self) -> int:
        """Returns the peak, in bytes."""
        found = self._status is not None and re.search(rb"VmHWM:\s+(\d+)", os.pread(self._status, 8192, 0))
        return int(found[1]) * 1024 if found else 0


def _opened(path: str, flags: int) -> int | None:
    """Returns a descriptor that stays open: opening takes longer than most inputs do."""
    return os.open(path, flags) if Path(path).exists() else None


def judge(target: Target, data: bytes, peak: Peak) -> str:
    """Runs a target.

    Args:
        target: Takes the data; what it raises is a finding.
        data: The input.
        peak: Tells the memory of this process.

    Returns:
        What is wrong, in a line; empty where nothing is.
    """
    before = peak.forget()
    begun = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target(data)
    except Exception as error:  # noqa: BLE001 - whatever it is, it should not be
        return f"{type(error).__name__}: {error}"
    seconds = time.process_time() - begun
    taken = peak.read() - before
    if seconds > CPU_SECONDS:
        return f"{seconds:.1f} s of processor time, expected at most {CPU_SECONDS}"
    most = max_decoded_bytes(MAX_PIXELS) + SPARE_BYTES
    return f"{taken:,} bytes of memory, expected at most {most:,}" if taken > most else ""
