"""The first directory of a TIFF, and of EXIF, which is one: reads a text from it, and adds entries to it.

A new directory is put at the end, and the old one stays where it is. So nothing moves, and whatever is addressed by its
place, pixels and the notes of camera makers among it, is still found.

Source:
    Adobe TIFF 6.0, section 2; BigTIFF as libtiff reads it.
"""

import struct
from collections.abc import Mapping
from typing import NamedTuple

from model.errors import LibraryError

DESCRIPTION = 270
XMP = 700

_ASCII = 2
_BYTE = 1
_KINDS = {DESCRIPTION: _ASCII, XMP: _BYTE}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MAX_TAGS = 4096
_EMPTY = b"II*\0\x08\0\0\0\0\0\0\0\0\0"
"""A TIFF whose directory has no entries."""


class _Layout(NamedTuple):
    """How a file writes numbers: its byte order, and the formats of a directory's length, entries and offsets."""

    order: str
    length: str
    entry: str
    word: str
    begin: int

    def size(self, form: str) -> int:
        return struct.calcsize(self.order + form)


def value_in(data: bytes, tag: int) -> bytes:
    """Returns the bytes of an entry of the first directory; empty if there is no such entry.

    Args:
        data: From the byte order mark on.
        tag: `DESCRIPTION` or `XMP`.

    Raises:
        LibraryError: The directory is damaged.
    """
    try:
        layout = _layout(data)
        for raw in _directory(data, layout)[0]:
            found, kind, count = struct.unpack_from(layout.order + layout.entry, raw)
            if found == tag:
                return _value(data, layout, raw, count * _SIZES.get(kind, 1))
    except struct.error as error:
        raise _damaged() from error
    return b""


def with_values(data: bytes, values: Mapping[int, bytes]) -> bytes:
    """Returns a TIFF with entries added to its first directory, or replaced.

    Args:
        data: From the byte order mark on; empty for a new one.
        values: By tag, the bytes of each.

    Raises:
        LibraryError: The directory is damaged, or the file would be larger than its offsets can tell.
    """
    data = data or _EMPTY
    try:
        layout = _layout(data)
        entries, following = _directory(data, layout)
        kept = {struct.unpack_from(f"{layout.order}H", raw)[0]: raw for raw in reversed(entries)}
        grown = bytearray(data)
        for tag, value in values.items():
            kept[tag] = _new_entry(grown, layout, tag, value)
        _pad(grown)
        begin = len(grown)
        grown += struct.pack(layout.order + layout.length, len(kept))
        grown += b"".join(kept[tag] for tag in sorted(kept)) + following
        struct.pack_into(layout.order + layout.word, grown, layout.size(layout.word), begin)
    except struct.error as error:
        raise _damaged() from error
    return bytes(grown)


def _layout(data: bytes) -> _Layout:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise _damaged()
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    if version not in (42, 43):
        raise _damaged()
    length, entry, word = ("H", "HHI", "I") if version == 42 else ("Q", "HHQ", "Q")
    (begin,) = struct.unpack_from(order + word, data, struct.calcsize(order + word))
    return _Layout(order, length, entry, word, begin)


def _directory(data: bytes, layout: _Layout) -> tuple[list[bytes], bytes]:
    """Returns the raw entries, and the offset of the next directory as it stands."""
    (count,) = struct.unpack_from(layout.order + layout.length, data, layout.begin)
    size = layout.size(layout.entry) + layout.size(layout.word)
    position = layout.begin + layout.size(layout.length)
    end = position + count * size
    following = data[end : end + layout.size(layout.word)]
    if count > _MAX_TAGS or end > len(data):
        raise _damaged()
    # EXIF may end with its directory.
    return [data[at : at + size] for at in range(position, end, size)], following.ljust(layout.size(layout.word), b"\0")


def _value(data: bytes, layout: _Layout, raw: bytes, size: int) -> bytes:
    inline = raw[layout.size(layout.entry) :]
    if size <= len(inline):
        return inline[:size]
    (place,) = struct.unpack(layout.order + layout.word, inline)
    return data[place : place + size]


def _new_entry(grown: bytearray, layout: _Layout, tag: int, value: bytes) -> bytes:
    head = struct.pack(layout.order + layout.entry, tag, _KINDS[tag], len(value))
    if len(value) <= layout.size(layout.word):
        return head + value.ljust(layout.size(layout.word), b"\0")
    _pad(grown)
    place = struct.pack(layout.order + layout.word, len(grown))
    grown += value
    return head + place


def _pad(grown: bytearray) -> None:
    """Lets what follows begin at an even offset, as the format asks."""
    grown += b"\0" * (len(grown) % 2)


def _damaged() -> LibraryError:
    return LibraryError(
        "expected whole EXIF or TIFF fields, found damaged ones; save the photo again in a photo program"
    )
