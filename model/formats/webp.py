"""WebP: the chunks of its RIFF container.

Source:
    RFC 9649, sections 2 (container) and 3.4 (size of a lossless image); RFC 6386, 9.1 (size of a lossy one).
"""

import struct
from collections.abc import Iterator

from model.formats.exif import orientation_of
from model.formats.header import DamagedFileError, Header, count_parts
from model.formats.icc import rgb_profile

_ALPHA = 0x10
_ANIMATION = 0x02
_CONTAINER_BYTES = 12

_BYTES_PER_PIXEL = 18
"""The canvas and the one before it, the image as bytes, in Pillow, and while a lossless one is decoded."""


def inspect(data: bytes) -> Header:
    """Reads the chunks of a WebP.

    Args:
        data: The whole file.

    Returns:
        Its header, and the file with its image or the first frame of its animation, without metadata.

    Raises:
        DamagedFileError: It ends within a chunk, holds no image, or has more chunks than it may.
        struct.error: It ends within a header.
    """
    kept: list[bytes] = []
    names: set[bytes] = set()
    exif = b""
    profile = b""
    size = (0, 0)
    for name, chunk in _chunks(data):
        if name == b"EXIF":
            exif = exif or chunk[8:]
        if name == b"ICCP":
            profile = profile or chunk[8:]
        if name in _SIZES and name not in names:
            kept.append(_without_metadata(chunk) if name == b"VP8X" else chunk)
            names.add(name)
            size = size if size[0] else _SIZES[name](chunk[8:])
        elif name in (b"ALPH", b"ANIM", b"ANMF") and name not in names:
            kept.append(chunk)
            names.add(name)
    if not names & {b"VP8 ", b"VP8L", b"ANMF"} or not size[0]:
        raise DamagedFileError("expected an image in a WebP, received none")
    body = b"WEBP" + b"".join(kept)
    pixels = size[0] * size[1]
    return Header(
        format="WEBP", width=size[0], height=size[1], largest_pixels=pixels, orientation=orientation_of(exif),
        decoded_bytes=pixels * _BYTES_PER_PIXEL, decode_seconds=pixels * 40e-9,
        data=b"RIFF" + struct.pack("<I", len(body)) + body, profile=rgb_profile(profile),
    )  # fmt: skip


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the name and bytes of each chunk, header and padding included."""
    (length,) = struct.unpack_from("<I", data, 4)
    position = _CONTAINER_BYTES
    end = min(len(data), 8 + length)
    parts = 0
    while position + 8 <= end:
        name, size = struct.unpack_from("<4sI", data, position)
        after = position + 8 + size + size % 2
        if position + 8 + size > end:
            raise DamagedFileError("expected a whole WebP, received one that ends within a chunk")
        parts += 1
        count_parts(parts, "WebP chunks")
        yield name, data[position:after].ljust(after - position, b"\0")
        position = after


def _without_metadata(chunk: bytes) -> bytes:
    """Returns a VP8X chunk that announces only what is kept."""
    return chunk[:8] + bytes([chunk[8] & (_ALPHA | _ANIMATION)]) + chunk[9:]


def _canvas_size(content: bytes) -> tuple[int, int]:
    return int.from_bytes(content[4:7], "little") + 1, int.from_bytes(content[7:10], "little") + 1


def _lossy_size(content: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", content, 6)
    return width & 0x3FFF, height & 0x3FFF


def _lossless_size(content: bytes) -> tuple[int, int]:
    (bits,) = struct.unpack_from("<I", content, 1)
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


_SIZES = {b"VP8X": _canvas_size, b"VP8 ": _lossy_size, b"VP8L": _lossless_size}
