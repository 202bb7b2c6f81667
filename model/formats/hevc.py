"""HEVC, the pixels of a HEIC: the size in its sequence parameters, which is what a decoder takes memory for.

Source:
    ITU-T H.265, 7.3.1 (units), 7.3.2.2 (sequence parameters), 7.3.3 (profile, tier and level); ISO/IEC 14496-15, 8.3.3
    (`hvcC`).
"""

import struct
from collections.abc import Iterator

from model.formats.av1 import MAX_PICTURES
from model.formats.bits import Bits, Stream
from model.formats.header import DamagedFileError, count_parts

_SEQUENCE = 33
_PICTURES = range(32)
_SEQUENCE_BYTES = 256
_SAMPLES = (1, 1.5, 2, 3)
"""Samples for a pixel, by how the colours are subsampled: grey alone, 4:2:0, 4:2:2, 4:4:4."""

_ARRAYS_BEGIN = 22


def coded_pixels(config: bytes, data: bytes) -> Stream:
    """Returns how large a picture an HEVC stream asks a decoder for, and of how many units it is.

    Args:
        config: Content of its `hvcC` property.
        data: The stream, each unit behind its length.

    Raises:
        DamagedFileError: It has no sequence parameters, or more pictures than there should be.
        struct.error: It ends within a header; so do ValueError and IndexError.
    """
    sizes: list[tuple[int, float]] = []
    pictures = 0
    parts = 0
    for unit in (*_parameters(config), *_units(data, (config[21] & 3) + 1)):
        parts += 1
        count_parts(parts, "units of an HEVC stream")
        kind = unit[0] >> 1 & 63
        pictures += kind in _PICTURES and unit[2] >> 7
        count_parts(pictures, "pictures in an item of a HEIC", most=MAX_PICTURES)
        if kind == _SEQUENCE:
            sizes.append(_sequence(unit))
    if not sizes:
        raise DamagedFileError("expected sequence parameters in a HEIC, received none")
    return Stream(max(pixels for pixels, _ in sizes), max(each for _, each in sizes), parts)


def _parameters(config: bytes) -> Iterator[bytes]:
    """Yields the beginning of each unit in a `hvcC`."""
    position = _ARRAYS_BEGIN + 1
    for _ in range(config[_ARRAYS_BEGIN]):
        (count,) = struct.unpack_from(">H", config, position + 1)
        position += 3
        for _ in range(count):
            (length,) = struct.unpack_from(">H", config, position)
            yield config[position + 2 : position + 2 + min(length, _SEQUENCE_BYTES)]
            position += 2 + length


def _units(stream: bytes, length_bytes: int) -> Iterator[bytes]:
    """Yields the beginning of each unit of a stream."""
    position = 0
    while position + length_bytes < len(stream):
        length = int.from_bytes(stream[position : position + length_bytes], "big")
        position += length_bytes
        yield stream[position : position + min(length, _SEQUENCE_BYTES)]
        position += length


def _sequence(unit: bytes) -> tuple[int, float]:
    """Returns the pixels of a picture, and the bytes for each."""
    # A third byte keeps two zeros and a small number from looking like the begin of a unit.
    bits = Bits(unit[2:].replace(b"\0\0\x03", b"\0\0"))
    bits.read(4)
    layers = bits.read(3)
    bits.read(1 + 88 + 8)
    if layers:
        present = [(bits.read(1), bits.read(1)) for _ in range(8)][:layers]
        bits.read(sum(88 * has_profile + 8 * has_level for has_profile, has_level in present))
    bits.read_golomb()
    chroma = bits.read_golomb()
    if chroma == 3:
        bits.read(1)
    pixels = bits.read_golomb() * bits.read_golomb()
    for _ in range(4 * bits.read(1)):  # what is cut off at the edges
        bits.read_golomb()
    is_deep = bits.read_golomb() > 0
    return pixels, _SAMPLES[min(chroma, 3)] * (1 + is_deep)
