"""PNG: XMP in a text chunk, EXIF in a chunk of its own, both behind the header.

Source:
    W3C PNG, third edition, 11.3.3.4 (iTXt) and 11.3.4.5 (eXIf); XMP part 3, 1.1.5.
"""

import struct
import zlib
from collections.abc import Iterator

from model.errors import LibraryError
from model.library.embedding.fields import Fields

_SIGNATURE_BYTES = 8
_KEYWORD = b"XML:com.adobe.xmp\0"
_MAX_XMP_BYTES = 16 * 1024**2


def read(data: bytes) -> Fields:
    """Returns the fields of a PNG.

    Raises:
        LibraryError: Its chunks are damaged.
    """
    xmp = b""
    exif = b""
    for name, content, _ in _chunks(data):
        if name == b"iTXt" and content.startswith(_KEYWORD):
            xmp = xmp or _text(content[len(_KEYWORD) :])
        elif name == b"eXIf":
            exif = exif or content.removeprefix(b"Exif\0\0")
    return Fields(xmp, exif)


def written(data: bytes, fields: Fields) -> bytes:
    """Returns a PNG with other fields.

    Raises:
        LibraryError: Its chunks are damaged.
    """
    parts = [data[:_SIGNATURE_BYTES]]
    end = _SIGNATURE_BYTES
    for name, content, raw in _chunks(data):
        end += len(raw)
        if name != b"eXIf" and not (name == b"iTXt" and content.startswith(_KEYWORD)):
            parts.append(raw)
        if name == b"IHDR":
            parts.append(_chunk(b"iTXt", _KEYWORD + b"\0\0\0\0" + fields.xmp) if fields.xmp else b"")
            parts.append(_chunk(b"eXIf", fields.exif) if fields.exif else b"")
    return b"".join(parts) + data[end:]


def _text(content: bytes) -> bytes:
    """Returns the text behind a keyword: flag, method, language and translated keyword stand in front."""
    is_packed = content[:1] == b"\1"
    *_, text = content[2:].split(b"\0", 2)
    if not is_packed:
        return text
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(text, _MAX_XMP_BYTES)
    except zlib.error as error:
        raise _damaged() from error
    if unpacker.unconsumed_tail:
        raise LibraryError(f"expected at most {_MAX_XMP_BYTES:,} bytes of XMP in a PNG, found more; use --write xmp")
    return text


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yields name, content and bytes of each chunk up to the end of the image."""
    position = _SIGNATURE_BYTES
    name = b""
    while name != b"IEND":
        if position + 12 > len(data):
            raise _damaged()
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise _damaged()
        yield name, data[position + 8 : end - 4], data[position:end]
        position = end


def _damaged() -> LibraryError:
    return LibraryError("expected whole chunks in a PNG, found damaged ones; save it again in a photo program")
