"""Containers of AVIF and HEIC made in code: of tiles, and those that lie or have too much of something."""

import struct

from PIL import Image

from bench import hostile
from bench.heic import packed
from model.formats.boxes import Property, boxes, read_meta
from model.formats.stills import Item, write_still
from model.image import inspect_image

_CONFIGS = {b"av01": (b"avif", b"av1C"), b"hvc1": (b"heic", b"hvcC")}


def still(
    content: bytes,
    config: bytes,
    size: tuple[int, int],
    *,
    kind: bytes = b"av01",
    others: tuple[tuple[bytes, bytes], ...] = (),
) -> bytes:
    """Returns a container of one image, whatever its stream and its configuration say of its size."""
    brand, name = _CONFIGS[kind]
    told = [(b"ispe", struct.pack(">III", 0, *size)), (name, config), *others]
    return write_still(brand, [Item(1, kind, content, told)], [])


def parts_of(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Returns kind, stream and configuration of a container's image in one piece."""
    meta = read_meta(data)
    kind = meta.kinds[meta.primary]
    ((begin, length),) = meta.places[meta.primary]
    return kind, data[begin : begin + length], meta.need(meta.primary, _CONFIGS[kind][1])


def properties_of(data: bytes) -> list[Property]:
    """Returns what a container tells of its image."""
    meta = read_meta(data)
    return meta.properties[meta.primary]


def tiled(
    data: bytes, columns: int, rows: int, *, told: tuple[int, int] | None = None, tiles: int | None = None
) -> bytes:
    """Returns a grid of the same image again and again.

    Args:
        data: An image in one piece.
        columns: Of the grid.
        rows: Of the grid.
        told: The size of the whole; that of its tiles by default.
        tiles: How many there are; as many as the grid has places by default.
    """
    kind, content, _ = parts_of(data)
    header = inspect_image(data)
    size = told or (header.width * columns, header.height * rows)
    own = properties_of(data)
    colours = [(name, content) for name, content in own if name == b"colr" and content.startswith(b"nclx")]
    whole = [(b"ispe", struct.pack(">III", 0, *size)), *colours]
    count = columns * rows if tiles is None else tiles
    grid = bytes([0, 1, rows - 1, columns - 1]) + struct.pack(">II", *size)
    items = [Item(1, b"grid", grid, whole, range(2, count + 2))]
    items += [Item(number, kind, content, own) for number in range(2, count + 2)]
    return write_still(_CONFIGS[kind][0], items, [])


def reused_tiles(image: Image.Image, name: str) -> bytes:
    """Returns a grid of 30x30 tiles that are all in the same place, so that a small file is a large image."""
    data = tiled(hostile.encoded(image, name), 30, 30)
    _, contents, meta = boxes(data, 0, len(data))
    # Four numbers stand in front of the entries, each of 14 bytes, with the place of its item in the last eight.
    begin = next(box for box in boxes(data, meta.begin + 4, meta.end) if box.name == b"iloc").begin + 8
    place = data[begin + 20 : begin + 28]
    told = bytearray(data[meta.begin - 8 : meta.end])
    for number in range(1, 901):
        at = begin - meta.begin + 8 + 14 * number
        told[at + 6 : at + 14] = place
    end = sum(struct.unpack(">II", place))
    head = struct.pack(">I4s", end - contents.begin + 8, b"mdat")
    return data[: contents.begin - 8] + head + data[contents.begin : end] + bytes(told)


def with_others(data: bytes, mark: bytes) -> bytes:
    """Returns a container with metadata and a thumbnail beside its image, all with that mark in them."""
    kind, content, _ = parts_of(data)
    told = properties_of(data)
    others = [Item(2, b"Exif", mark, []), Item(3, b"mime", mark, []), Item(4, kind, content + mark, told)]
    references = [(b"cdsc", 2, 1), (b"cdsc", 3, 1), (b"thmb", 4, 1)]
    return write_still(_CONFIGS[kind][0], [Item(1, kind, content, [*told, (b"udes", mark)]), *others], references)


def many_items(data: bytes, items: int) -> bytes:
    """Returns a container that names so many other items."""
    kind, content, _ = parts_of(data)
    told = properties_of(data)
    return write_still(_CONFIGS[kind][0], [Item(number, kind, content, told) for number in range(1, items + 2)], [])


def av1_sequence(width: int, height: int, *, is_reduced: bool = True, size_bits: int = 16) -> bytes:
    """Returns a stream of a sequence header alone, of the main profile."""
    begin = "000" + "1" + ("1" + "00000" if is_reduced else "0" + "0" + "0" + "00000" + "0" * 12 + "00000")
    sizes = f"{size_bits - 1:04b}" * 2 + f"{width - 1:0{size_bits}b}" + f"{height - 1:0{size_bits}b}"
    return _av1_unit(1, begin + sizes + "0" * 24)


def av1_picture(*, is_resized: bool, kind: int = 3) -> bytes:
    """Returns a unit with the begin of a key frame's header, of a sequence that leaves no choices."""
    return _av1_unit(kind, "0" + "00" + "1" + "0" + ("1" if is_resized else "0"))


def _av1_unit(kind: int, bits: str) -> bytes:
    content = packed(bits)
    return bytes([kind << 3 | 2, len(content)]) + content
