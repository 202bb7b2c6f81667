"""AV1, the pixels of an AVIF: the size that its sequence headers allow, which is what a decoder takes memory for.

Source:
    AV1 Bitstream & Decoding Process Specification, 5.3 (units), 5.5 (sequence header), 5.9.5 (size of a frame).
"""

from collections.abc import Iterator

from model.formats.bits import Bits, Stream
from model.formats.header import DamagedFileError, count_parts

MAX_PICTURES = 8
"""Most pictures in one item of a file: one, or the layers of which it is made."""

_SEQUENCE = 1
_FRAME_HEADER = 3
_FRAME = 6
_SEQUENCE_BYTES = 256
_CONFIG_BYTES = 4
_MAX_LENGTH_BYTES = 8


def coded_pixels(config: bytes, data: bytes) -> Stream:
    """Returns how large a picture an AV1 stream may ask a decoder for, and of how many units it is.

    Args:
        config: Content of its `av1C` property.
        data: The stream.

    Raises:
        DamagedFileError: It has no sequence header, or more pictures than an image has layers.
        ValueError: It ends within a header; so does IndexError.
    """
    sizes: list[tuple[int, float]] = []
    pictures = 0
    parts = 0
    for stream in (config[_CONFIG_BYTES:], data):
        for kind, content in _units(stream):
            parts += 1
            count_parts(parts, "units of an AV1 stream")
            pictures += kind in (_FRAME_HEADER, _FRAME)
            count_parts(pictures, "pictures in an item of an AVIF", most=MAX_PICTURES)
            if kind == _SEQUENCE:
                sizes.append(_sequence(content))
    if not sizes:
        raise DamagedFileError("expected a sequence header in an AVIF, received none")
    return Stream(max(pixels for pixels, _ in sizes), max(each for _, each in sizes), parts)


def _units(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields kind and first bytes of each unit."""
    position = 0
    while position < len(stream):
        head = stream[position]
        position += 2 if head & 4 else 1
        length = len(stream) - position
        if head & 2:
            length, position = _length(stream, position)
        yield head >> 3 & 15, stream[position : position + min(length, _SEQUENCE_BYTES)]
        position += length


def _length(stream: bytes, position: int) -> tuple[int, int]:
    """Returns a length in units of seven bits, and the position behind it."""
    length = 0
    for index in range(_MAX_LENGTH_BYTES):
        byte = stream[position + index]
        length |= (byte & 127) << 7 * index
        if not byte & 128:
            return length, position + index + 1
    raise ValueError("expected a length of at most eight bytes in an AV1 stream, received a longer one")


def _sequence(content: bytes) -> tuple[int, float]:
    """Returns the pixels of a picture, and the bytes for each."""
    bits = Bits(content)
    samples = 3 if bits.read(3) else 1.5  # of the main profile 4:2:0 or grey
    bits.read(1)
    is_reduced = bits.read(1)
    if is_reduced:
        bits.read(5)
    else:
        _skip_operating_points(bits)
    lengths = bits.read(4) + 1, bits.read(4) + 1
    width, height = (bits.read(length) + 1 for length in lengths)
    if not is_reduced:
        # Any picture may tell another size, as large as so many bits can.
        return 1 << sum(lengths), 2 * samples
    bits.read(6)
    return width * height, samples * (1 + bits.read(1))


def _skip_operating_points(bits: Bits) -> None:
    delay_bits = 0
    if bits.read(1):  # tells times
        bits.read(64)
        if bits.read(1):
            bits.read_golomb()
        if bits.read(1):
            delay_bits = bits.read(5) + 1
            bits.read(42)
    has_display_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if has_display_delay and bits.read(1):
            bits.read(4)
