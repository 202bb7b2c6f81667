"""WebP: XMP and EXIF in chunks behind the image, announced by an extended header.

Source:
    RFC 9649, 2.7 (extended file format).
"""

import struct
from collections.abc import Iterator

from model.errors import LibraryError
from model.library.embedding.fields import Fields

_CONTAINER_BYTES = 12
_XMP_FLAG = 0x04
_EXIF_FLAG = 0x08
_ALPHA_FLAG = 0x10
_HEADER_BYTES = 10


def read(data: bytes) -> Fields:
    """Returns the fields of a WebP.

    Raises:
        LibraryError: Its chunks are damaged.
    """
    found = {b"XMP ": b"", b"EXIF": b""}
    for name, content, _ in _chunks(data):
        if name in found:
            found[name] = found[name] or content
    return Fields(found[b"XMP "], found[b"EXIF"].removeprefix(b"Exif\0\0"))


def written(data: bytes, fields: Fields) -> bytes:
    """Returns a WebP with other fields.

    Raises:
        LibraryError: Its chunks are damaged.
    """
    chunks = [(name, content, raw) for name, content, raw in _chunks(data) if name not in (b"XMP ", b"EXIF")]
    header = next((content for name, content, _ in chunks if name == b"VP8X"), None) or _header(chunks)
    flags = header[0] & ~(_XMP_FLAG | _EXIF_FLAG)
    flags |= (_XMP_FLAG if fields.xmp else 0) | (_EXIF_FLAG if fields.exif else 0)
    body = b"WEBP" + _chunk(b"VP8X", bytes([flags]) + header[1:])
    body += b"".join(raw for name, _, raw in chunks if name != b"VP8X")
    body += b"".join(_chunk(name, field) for name, field in ((b"EXIF", fields.exif), (b"XMP ", fields.xmp)) if field)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _header(chunks: list[tuple[bytes, bytes, bytes]]) -> bytes:
    """Returns the extended header of a file that has none: it holds one image."""
    name, content, _ = next(((n, c, r) for n, c, r in chunks if n in (b"VP8 ", b"VP8L")), (b"", b"", b""))
    bits = int.from_bytes(content[1:5], "little")
    if name == b"VP8 " and len(content) >= 10:
        flags = 0
        width, height = (int.from_bytes(content[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    elif name == b"VP8L" and len(content) >= 5:
        flags = _ALPHA_FLAG * (bits >> 28 & 1)
        width = (bits & 0x3FFF) + 1
        height = (bits >> 14 & 0x3FFF) + 1
    else:
        raise _damaged()
    return bytes([flags, 0, 0, 0]) + b"".join(
        ((side & 0x3FFF or 0x4000) - 1).to_bytes(3, "little") for side in (width, height)
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yields name, content and bytes of each chunk."""
    position = _CONTAINER_BYTES
    end = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while position + 8 <= end:
        name, size = struct.unpack_from("<4sI", data, position)
        after = position + 8 + size + size % 2
        if position + 8 + size > end or (name == b"VP8X" and size < _HEADER_BYTES):
            raise _damaged()
        yield name, data[position + 8 : position + 8 + size], data[position:after].ljust(after - position, b"\0")
        position = after


def _damaged() -> LibraryError:
    return LibraryError("expected whole chunks in a WebP, found damaged ones; save it again in a photo program")
