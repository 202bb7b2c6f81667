"""Writes a container of AVIF or HEIC that holds one still image and nothing else.

Source:
    ISO/IEC 14496-12, 8.11 (items); ISO/IEC 23008-12, 6 and 9.3 (images as items, and their properties).
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from model.formats.boxes import Box


class Item(NamedTuple):
    """One item: its number, kind and bytes, its properties in the file that it comes from, and its tiles."""

    number: int
    kind: bytes
    content: bytes
    properties: Sequence[Box]
    tiles: Sequence[int] = ()


def write_still(
    data: bytes, brand: bytes, items: Sequence[Item], references: Sequence[tuple[bytes, int, int]]
) -> bytes:
    """Returns a container of these items; the first is the image.

    Args:
        data: The file that the items come from.
        brand: Of the format, four letters.
        items: Numbered from 1 on, without a gap.
        references: Kind, from and to, besides those from an image to its tiles.
    """
    kind = _box(b"ftyp", brand + bytes(4) + brand + b"mif1miaf")
    tiles = [_reference(b"dimg", item.number, item.tiles) for item in items if item.tiles]
    others = [_reference(name, sender, [target]) for name, sender, target in references]
    parts = [
        _full(b"hdlr", bytes(4) + b"pict" + bytes(13)),
        _full(b"pitm", struct.pack(">H", 1)),
        _full(b"iinf", struct.pack(">H", len(items)) + b"".join(map(_entry, items))),
        _full(b"iref", b"".join(tiles + others)) if tiles or others else b"",
        _box(b"iprp", _properties(data, items)),
    ]
    # Places are of a fixed size, so that they can be written once it is known how long all else is.
    size = sum(map(len, parts)) + len(_full(b"iloc", _places(items, 0))) + 12
    begin = len(kind) + size + 8
    meta = _full(b"meta", b"".join(parts) + _full(b"iloc", _places(items, begin)))
    return kind + meta + _box(b"mdat", b"".join(item.content for item in items))


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def _full(name: bytes, content: bytes, version: int = 0) -> bytes:
    return _box(name, bytes([version, 0, 0, 0]) + content)


def _entry(item: Item) -> bytes:
    return _full(b"infe", struct.pack(">HH4sx", item.number, 0, item.kind), version=2)


def _reference(name: bytes, sender: int, targets: Sequence[int]) -> bytes:
    return _box(name, struct.pack(f">HH{len(targets)}H", sender, len(targets), *targets))


def _places(items: Sequence[Item], begin: int) -> bytes:
    places = [struct.pack(">HH", 0x4400, len(items))]
    for item in items:
        places.append(struct.pack(">HHHII", item.number, 0, 1, begin, len(item.content)))
        begin += len(item.content)
    return b"".join(places)


def _properties(data: bytes, items: Sequence[Item]) -> bytes:
    """Returns the properties, each once, and which items have them."""
    indexes: dict[Box, int] = {}
    associations: list[bytes] = []
    for item in items:
        own = [indexes.setdefault(box, len(indexes) + 1) for box in item.properties]
        # A decoder has to understand all of them.
        associations.append(struct.pack(f">HB{len(own)}H", item.number, len(own), *(0x8000 | index for index in own)))
    container = _box(b"ipco", b"".join(_box(box.name, data[box.begin : box.end]) for box in indexes))
    flags = b"\0\0\0\1"  # indexes of two bytes
    return container + _box(b"ipma", flags + struct.pack(">I", len(items)) + b"".join(associations))
