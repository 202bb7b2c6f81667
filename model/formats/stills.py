"""Writes a container of AVIF or HEIC that holds one still image and nothing else.

Source:
    ISO/IEC 14496-12, 8.11 (items); ISO/IEC 23008-12, 6 and 9.3 (images as items, and their properties).
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from model.formats.boxes import Property


class Item(NamedTuple):
    """One item: its number, kind and bytes, name and content of its properties, and the numbers of its tiles."""

    number: int
    kind: bytes
    content: bytes
    properties: Sequence[Property]
    tiles: Sequence[int] = ()


def write_still(brand: bytes, items: Sequence[Item], references: Sequence[tuple[bytes, int, int]]) -> bytes:
    """Returns a container of these items; the first is the image.

    Args:
        brand: Of the format, four letters.
        items: Numbered from 1 on, without a gap.
        references: Kind, from and to, besides those from an image to its tiles.
    """
    kind = _box(b"ftyp", brand + bytes(4) + brand + b"mif1miaf")
    tiles = [_reference(b"dimg", item.number, item.tiles) for item in items if item.tiles]
    others = [_reference(name, sender, [target]) for name, sender, target in references]
    parts = (
        _full(b"hdlr", bytes(4) + b"pict" + bytes(13)),
        _full(b"pitm", struct.pack(">H", 1)),
        _full(b"iinf", struct.pack(">H", len(items)) + b"".join(map(_entry, items))),
        _full(b"iref", b"".join(tiles + others)) if tiles or others else b"",
        _box(b"iprp", _properties(items)),
        # The contents come first, so that it is known where they are.
        _full(b"iloc", _places(items, len(kind) + 8)),
    )
    return kind + _box(b"mdat", b"".join(item.content for item in items)) + _full(b"meta", b"".join(parts))


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


def _properties(items: Sequence[Item]) -> bytes:
    """Returns the properties, each once, and which items have them."""
    indexes: dict[Property, int] = {}
    associations: list[bytes] = []
    for item in items:
        own = [indexes.setdefault(one, len(indexes) + 1) for one in item.properties]
        # A decoder has to understand all of them.
        associations.append(struct.pack(f">HB{len(own)}H", item.number, len(own), *(0x8000 | index for index in own)))
    container = _box(b"ipco", b"".join(_box(*one) for one in indexes))
    flags = b"\0\0\0\1"  # indexes of two bytes
    return container + _box(b"ipma", flags + struct.pack(">I", len(items)) + b"".join(associations))
