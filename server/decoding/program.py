"""The program of a decoding process: decodes photos, one after another, within limits of memory and processor time.

Started by `server/decoding/process.py`. A photo that makes it crash, hang or want too much harms no other photo. It
reads the length of a photo from its standard input, a socket; finds the photo in shared memory; writes the pixels
there; and answers with a line of JSON. Output of native libraries is discarded.
"""

import collections
import json
import math
import mmap
import resource
import signal
import socket
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

from model.config import IMAGE_PIXELS
from model.errors import ImageError
from model.image import max_decoded_bytes, read_image
from server.memory import keep_memory

PIXEL_BYTES = IMAGE_PIXELS * IMAGE_PIXELS * 3
"""Size of the pixels in shared memory, behind the photo."""

LENGTH = struct.Struct("<Q")
"""A request: the length of the photo."""

CPU_SECONDS = 5
"""Most processor time for one photo; the system counts it in whole seconds."""

KEPT_BYTES = 8 * 1024**2
"""Memory that a decoder keeps from photo to photo: what a JPEG takes, which is scaled down while it is decoded."""

_COPIES = 4
_SPARE_BYTES = 64 * 1024**2


def main(arguments: list[str]) -> None:
    """Decodes until the server closes the socket.

    Args:
        arguments: Descriptor of the shared memory, and the largest width times height of a photo.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_memory(KEPT_BYTES)
    memory = mmap.mmap(int(arguments[0]), 0)
    max_pixels = int(arguments[1])
    _limit(max_decoded_bytes(max_pixels) + _COPIES * len(memory))
    counted: collections.Counter[str] = collections.Counter()
    # "always" stores nothing; any other action stores every text for good.
    warnings.simplefilter("always")
    warnings.showwarning = lambda _message, category, *_: counted.update([category.__name__])
    with socket.socket(fileno=sys.stdin.fileno()) as channel:
        while length := channel.recv(LENGTH.size, socket.MSG_WAITALL):
            _allow_cpu(CPU_SECONDS)
            answer = _decode(memory, LENGTH.unpack(length)[0], max_pixels)
            channel.sendall(json.dumps(answer | {"warnings": counted}).encode() + b"\n")
            counted.clear()


def _limit(more_bytes: int) -> None:
    """Limits this process's further memory, and forbids it to write files."""
    used_pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if used_pages:
        space = used_pages * resource.getpagesize() + more_bytes + _SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(kind, (0, 0))


def _allow_cpu(seconds: int) -> None:
    """Limits the processor time from now on; the system ends the process when it is used up."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = math.ceil(usage.ru_utime + usage.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, resource.RLIM_INFINITY))


def _decode(memory: mmap.mmap, length: int, max_pixels: int) -> dict[str, Any]:
    try:
        image = read_image(memory[:length], max_pixels=max_pixels)
    except (ImageError, MemoryError) as error:
        return {"error": type(error).__name__, "message": str(error)}
    memory[-PIXEL_BYTES:] = image.pixels.tobytes()
    return {"width": image.width, "height": image.height}


if __name__ == "__main__":
    main(sys.argv[1:])
