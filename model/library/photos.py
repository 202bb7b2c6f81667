"""Reads photos from disk: bytes, stamp, hash and pixels, or the reason why not."""

import hashlib
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from model.errors import ImageError, ImageTooLargeError
from model.image import read_image
from model.library.listing import STANDARD_INPUT

MAX_FILE_BYTES = 256 * 1024**2
"""Largest file that is read, in bytes: more than 50 uncompressed megapixels."""


class Stamp(NamedTuple):
    """The size of a file in bytes and the time of its last change: what tells that it is unchanged, without reading."""

    size: int
    mtime_ns: int


Read = Callable[[str], tuple[bytes, Stamp | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPhoto:
    """A photo that was read, or that failed.

    Attributes:
        path: As listed.
        pixels: For the captioner, shape (224, 224, 3); None if it failed, or is known already.
        width: Of the upright original, in pixels.
        height: Of the upright original, in pixels.
        stamp: Of the file as it was read; None if there is none.
        sha256: Of its bytes; empty if it was not read or not asked for.
        error: Why it failed; empty if it did not.
    """

    path: str
    pixels: npt.NDArray[np.uint8] | None = None
    width: int = 0
    height: int = 0
    stamp: Stamp | None = None
    sha256: str = ""
    error: str = ""


def stamp_of(path: str) -> Stamp | None:
    """Returns the stamp of a file; None if it is not there, or is no file."""
    try:
        status = os.stat(path)  # noqa: PTH116 - called for every photo of a library
    except (OSError, ValueError):
        return None
    return Stamp(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def read_file(path: str) -> tuple[bytes, Stamp | None]:
    """Returns the bytes of a file, or of standard input, and its stamp.

    Raises:
        ImageTooLargeError: It is larger than `MAX_FILE_BYTES`.
        OSError: It cannot be read.
    """
    if path == STANDARD_INPUT:
        return read_bounded(sys.stdin.buffer), None
    with open(path, "rb") as file:  # noqa: PTH123 - paths are text here
        status = os.fstat(file.fileno())
        return read_bounded(file), Stamp(status.st_size, status.st_mtime_ns)


def read_photo(
    path: str, *, max_pixels: int, known: Callable[[str], str] | None = None, read: Read = read_file
) -> ReadPhoto:
    """Reads and decodes one photo; whatever is wrong with it becomes its error.

    Args:
        path: A file, or `-` for standard input.
        max_pixels: Largest width times height.
        known: Returns the hash of a photo that need not be decoded if it still has it. None where none is asked for.
        read: Returns its bytes, and its stamp if it has one.
    """
    stamp: Stamp | None = None
    digest = ""
    try:
        data, stamp = read(path)
        if known is not None:
            digest = hashlib.sha256(data).hexdigest()
            if digest == known(path):
                return ReadPhoto(path=path, stamp=stamp, sha256=digest)
        image = read_image(data, max_pixels=max_pixels)
    except (ImageError, OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        return ReadPhoto(path=path, stamp=stamp, sha256=digest, error=reason or str(error))
    except MemoryError:
        return ReadPhoto(path=path, stamp=stamp, sha256=digest, error="there is too little memory to decode it")
    return ReadPhoto(path=path, pixels=image.pixels, width=image.width, height=image.height, stamp=stamp, sha256=digest)


def read_bounded(file: IO[bytes]) -> bytes:
    """Returns all bytes of an open file.

    Raises:
        ImageTooLargeError: There are more than `MAX_FILE_BYTES`.
    """
    data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ImageTooLargeError(f"expected a file of at most {MAX_FILE_BYTES} bytes, received more; make it smaller")
    return data
