"""The container of AVIF and HEIC: its boxes, items, properties and references.

Source:
    ISO/IEC 14496-12, 4.2 (boxes), 8.11 (items); ISO/IEC 23008-12, 6 (images as items), 9.3 (properties).
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from model.formats.header import MAX_PARTS, DamagedFileError, count_parts

Property = tuple[bytes, bytes]
"""A property of an item: its name and content."""


class Box(NamedTuple):
    """One box: its name, and where its content begins and ends."""

    name: bytes
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Meta:
    """The facts in a file's `meta` box.

    Attributes:
        primary: Id of the item that is the image.
        kinds: What each item is, by id.
        places: Where the bytes of each item are, by id: begin and length of each piece.
        properties: Name and content of what is told of each item, by id, in order.
        references: Items that an item refers to, by kind of reference and its id.
    """

    primary: int
    kinds: Mapping[int, bytes]
    places: Mapping[int, list[tuple[int, int]]]
    properties: Mapping[int, list[Property]]
    references: Mapping[tuple[bytes, int], list[int]]

    def find(self, item: int, name: bytes) -> bytes | None:
        """Returns the content of an item's first property of that name; None where it has none."""
        return next((content for title, content in self.properties.get(item, ()) if title == name), None)

    def need(self, item: int, name: bytes) -> bytes:
        """Returns the content of an item's first property of that name.

        Raises:
            DamagedFileError: It has none.
        """
        content = self.find(item, name)
        if content is None:
            raise DamagedFileError(f"expected the property {name!r} of an image, received none")
        return content


class _Numbers:
    """Reads numbers one behind the other."""

    def __init__(self, data: bytes, box: Box) -> None:
        self._data = data
        self._position = box.begin
        self._end = box.end
        self.version, self.flags = divmod(self.next(4), 1 << 24)

    def next(self, size: int) -> int:
        """Returns the number in the next bytes; of no bytes, 0."""
        self._position += size
        if self._position > self._end:
            raise DamagedFileError("expected a whole box, received one that ends within a number")
        return int.from_bytes(self._data[self._position - size : self._position], "big")

    @property
    def position(self) -> int:
        return self._position


def boxes(data: bytes, begin: int, end: int) -> Iterator[Box]:
    """Yields the boxes between two positions.

    Raises:
        DamagedFileError: One reaches beyond the end, or there are too many.
    """
    parts = 0
    while begin + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, begin)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, begin + 8)
            head = 16
        elif size == 0:
            size = end - begin
        if size < head or begin + size > end:
            raise DamagedFileError("expected a box within its container, received one that reaches beyond it")
        parts += 1
        count_parts(parts, "boxes of a container")
        yield Box(name, begin + head, begin + size)
        begin += size


def read_meta(data: bytes) -> Meta:
    """Reads the `meta` box of a file.

    Args:
        data: The whole file.

    Raises:
        DamagedFileError: It has none, or breaks the rules.
    """
    meta = next((box for box in boxes(data, 0, len(data)) if box.name == b"meta"), None)
    if meta is None:
        raise DamagedFileError("expected a still image, received a film or a sequence alone; save one picture of it")
    inside = {box.name: box for box in boxes(data, meta.begin + 4, meta.end)}
    if missing := {b"pitm", b"iinf", b"iloc", b"iprp"} - inside.keys():
        raise DamagedFileError(f"expected the box {min(missing)!r} in a container, received none")
    numbers = _Numbers(data, inside[b"pitm"])
    return Meta(
        primary=numbers.next(4 if numbers.version else 2),
        kinds=MappingProxyType(_kinds(data, inside[b"iinf"])),
        places=MappingProxyType(_places(data, inside[b"iloc"], inside.get(b"idat"))),
        properties=MappingProxyType(_properties(data, inside[b"iprp"])),
        references=MappingProxyType(_references(data, inside[b"iref"]) if b"iref" in inside else {}),
    )


def _kinds(data: bytes, box: Box) -> dict[int, bytes]:
    numbers = _Numbers(data, box)
    numbers.next(4 if numbers.version else 2)
    kinds: dict[int, bytes] = {}
    for entry in boxes(data, numbers.position, box.end):
        item = _Numbers(data, entry)
        if item.version >= 2:  # earlier ones have no kind
            name = item.next(4 if item.version > 2 else 2)
            item.next(2)
            kinds[name] = item.next(4).to_bytes(4, "big")
    return kinds


def _places(data: bytes, box: Box, inline: Box | None) -> dict[int, list[tuple[int, int]]]:
    numbers = _Numbers(data, box)
    sizes = numbers.next(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    id_size = 4 if numbers.version == 2 else 2
    places: dict[int, list[tuple[int, int]]] = {}
    parts = 0
    for _ in range(numbers.next(id_size)):
        item = numbers.next(id_size)
        method = numbers.next(2) & 15 if numbers.version else 0
        numbers.next(2)
        base = numbers.next(base_size)
        pieces: list[tuple[int, int]] = []
        for _ in range(numbers.next(2)):
            parts += 1
            count_parts(parts, "pieces of a container's items")
            numbers.next(index_size if numbers.version else 0)
            pieces.append((base + numbers.next(offset_size), numbers.next(length_size)))
        places[item] = _absolute(pieces, method, inline)
    return places


def _absolute(pieces: list[tuple[int, int]], method: int, inline: Box | None) -> list[tuple[int, int]]:
    """Returns pieces by their position in the file; none where they are told from other items."""
    if method == 0:
        return pieces
    if method == 1 and inline is not None:
        size = inline.end - inline.begin
        return [(inline.begin + at, length or size - at) for at, length in pieces if at + length <= size]
    return []


def _properties(data: bytes, box: Box) -> dict[int, list[Property]]:
    inside = list(boxes(data, box.begin, box.end))
    container = next((one for one in inside if one.name == b"ipco"), None)
    if container is None:
        raise DamagedFileError("expected properties in a container, received none")
    every = [(one.name, data[one.begin : one.end]) for one in boxes(data, container.begin, container.end)]
    properties: dict[int, list[Property]] = {}
    parts = 0
    for association in (one for one in inside if one.name == b"ipma"):
        numbers = _Numbers(data, association)
        for _ in range(numbers.next(4)):
            item = numbers.next(4 if numbers.version else 2)
            for _ in range(numbers.next(1)):
                parts += 1
                count_parts(parts, "properties of a container's items", most=4 * MAX_PARTS)
                index = numbers.next(2) & 0x7FFF if numbers.flags & 1 else numbers.next(1) & 0x7F
                if index:
                    properties.setdefault(item, []).append(every[index - 1])
    return properties


def _references(data: bytes, box: Box) -> dict[tuple[bytes, int], list[int]]:
    form, size = ("I", 4) if data[box.begin] else ("H", 2)
    references: dict[tuple[bytes, int], list[int]] = {}
    parts = 0
    for one in boxes(data, box.begin + 4, box.end):
        sender, count = struct.unpack_from(f">{form}H", data, one.begin)
        parts += count
        count_parts(parts, "references of a container")
        references[one.name, sender] = list(struct.unpack_from(f">{count}{form}", data, one.begin + size + 2))
    return references
