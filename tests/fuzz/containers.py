"""Containers of AVIF and HEIC made in code: of tiles, and those that lie or have too much of something."""

import io
import struct

from PIL import Image

from bench import hostile
from model.formats.boxes import Box, boxes, read_meta
from model.formats.stills import Item, write_still

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
    places, data = [], b""
    for title, part in told:
        places.append(Box(title, len(data), len(data) + len(part)))
        data += part
    return write_still(data, brand, [Item(1, kind, content, places)], [])


def parts_of(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Returns kind, stream and configuration of a container's image in one piece."""
    meta = read_meta(data)
    kind = meta.kinds[meta.primary]
    ((begin, length),) = meta.places[meta.primary]
    config = meta.find(meta.primary, _CONFIGS[kind][1])
    return kind, data[begin : begin + length], data[config.begin : config.end]


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
    kind, content, config = parts_of(data)
    width, height = Image.open(io.BytesIO(data)).size
    size = told or (width * columns, height * rows)
    brand, name = _CONFIGS[kind]
    parts = ((b"ispe", struct.pack(">III", 0, *size)), (b"ispe", struct.pack(">III", 0, width, height)), (name, config))
    source, places = b"", []
    for title, part in parts:
        places.append(Box(title, len(source), len(source) + len(part)))
        source += part
    count = columns * rows if tiles is None else tiles
    grid = bytes([0, 1, rows - 1, columns - 1]) + struct.pack(">II", *size)
    items = [Item(1, b"grid", grid, places[:1], range(2, count + 2))]
    items += [Item(number, kind, content, places[1:]) for number in range(2, count + 2)]
    return write_still(source, brand, items, [])


def reused_tiles(image: Image.Image, name: str) -> bytes:
    """Returns a grid of 32x32 tiles that are all in the same place, so that a small file is a large image."""
    data = tiled(hostile.encoded(image, name), 32, 32)
    meta = next(box for box in boxes(data, 0, len(data)) if box.name == b"meta")
    begin = next(box for box in boxes(data, meta.begin + 4, meta.end) if box.name == b"iloc").begin + 8
    # An entry is 14 bytes long, and has the place of its item in the last eight.
    place = data[begin + 20 : begin + 28]
    made = bytearray(data[: sum(struct.unpack(">II", place))])
    for number in range(1, 1025):
        made[begin + 14 * number + 6 : begin + 14 * (number + 1)] = place
    return bytes(made)


def many_items(data: bytes, items: int) -> bytes:
    """Returns a container that names so many other items, with a property each."""
    kind, content, config = parts_of(data)
    source = struct.pack(">III", 0, *Image.open(io.BytesIO(data)).size) + config
    places = [Box(b"ispe", 0, 12), Box(_CONFIGS[kind][1], 12, len(source))]
    every = [Item(number, kind, content, places) for number in range(1, items + 2)]
    return write_still(source, _CONFIGS[kind][0], every, [])


def _packed(bits: str) -> bytes:
    bits += "1"
    bits = bits.ljust(-(-len(bits) // 8) * 8, "0")
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _golomb(number: int) -> str:
    digits = f"{number + 1:b}"
    return "0" * (len(digits) - 1) + digits


def av1_sequence(width: int, height: int, *, is_reduced: bool = True, size_bits: int = 16) -> bytes:
    """Returns a stream of a sequence header alone, of the main profile."""
    begin = "000" + "1" + ("1" + "00000" if is_reduced else "0" + "0" + "0" + "00000" + "0" * 12 + "00000")
    sizes = f"{size_bits - 1:04b}" * 2 + f"{width - 1:0{size_bits}b}" + f"{height - 1:0{size_bits}b}"
    content = _packed(begin + sizes + "0" * 24)
    return bytes([1 << 3 | 2, len(content)]) + content


def hevc_sequence(width: int, height: int, *, chroma: int = 1, depth: int = 8) -> bytes:
    """Returns a unit of sequence parameters, in which two zeros and a small number are kept apart."""
    bits = "0000" + "000" + "1" + "0" * 96 + _golomb(0) + _golomb(chroma) + ("0" if chroma == 3 else "")
    content = _packed(bits + _golomb(width) + _golomb(height) + "0" + _golomb(depth - 8) * 2)
    safe = b""
    for byte in content:
        safe += (b"\3" if safe.endswith(b"\0\0") and byte < 4 else b"") + bytes([byte])
    return b"\x42\x01" + safe


def hevc_config(*units: bytes) -> bytes:
    """Returns the content of an `hvcC` of these units."""
    arrays = b"".join(bytes([0x80 | unit[0] >> 1]) + struct.pack(">HH", 1, len(unit)) + unit for unit in units)
    return b"\1" + bytes(20) + b"\3" + bytes([len(units)]) + arrays
