"""AV1, the pixels of an AVIF: the size that its sequence headers allow, which is what a decoder takes memory for.

Source:
    AV1 Bitstream & Decoding Process Specification, 5.3 (units), 5.5 (sequence header), 5.9.5 (size of a frame).
"""

from collections.abc import Iterator
from typing import NamedTuple

from model.formats.bits import Bits, Stream
from model.formats.header import DamagedFileError, count_parts

MAX_PICTURES = 8
"""Most pictures in one item of a file: one, or the layers of which it is made."""

_SEQUENCE = 1
_PICTURES = (3, 6, 7)
"""Units that begin a picture: its header alone, with its tiles, and a copy of its header, which may stand for it."""

_KEY = 0
_SWITCH = 3
_SEQUENCE_BYTES = 256
_CONFIG_BYTES = 4
_MAX_LENGTH_BYTES = 8


class _Sequence(NamedTuple):
    """The facts in a sequence header.

    Attributes:
        pixels: Of a picture that tells no size of its own.
        most_pixels: Of one that tells the largest size that it can.
        pixel_bytes: Bytes for a pixel.
        is_plain: Whether no picture has numbers of its own for times or names, so that `_is_resized` can read it.
        has_choices: Whether a picture tells if it is of a screen, and then if its motion is of whole pixels.
    """

    pixels: int
    most_pixels: int
    pixel_bytes: float
    is_plain: bool = True
    has_choices: tuple[bool, bool] = (False, False)


def coded_pixels(config: bytes, data: bytes) -> Stream:
    """Returns how large a picture an AV1 stream may ask a decoder for, and of how many units it is.

    Args:
        config: Content of its `av1C` property.
        data: The stream.

    Raises:
        DamagedFileError: It has no sequence header, or more pictures than an image has layers.
        ValueError: It ends within a header; so does IndexError.
    """
    sequence: _Sequence | None = None
    pixels = 0
    pixel_bytes = 0.0
    pictures = 0
    parts = 0
    for stream in (config[_CONFIG_BYTES:], data):
        for kind, content in _units(stream):
            parts += 1
            count_parts(parts, "units of an AV1 stream")
            pictures += kind in _PICTURES
            count_parts(pictures, "pictures in an item of an AVIF", most=MAX_PICTURES)
            if kind == _SEQUENCE:
                sequence = _sequence(content)
                pixels = max(pixels, sequence.pixels)
                pixel_bytes = max(pixel_bytes, sequence.pixel_bytes)
            elif kind in _PICTURES and sequence and _is_resized(content, sequence):
                pixels = max(pixels, sequence.most_pixels)
    if sequence is None:
        raise DamagedFileError("expected a sequence header in an AVIF, received none")
    return Stream(pixels, pixel_bytes, parts)


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


def _sequence(content: bytes) -> _Sequence:
    bits = Bits(content)
    samples = 3 if bits.read(3) else 1.5  # of the main profile 4:2:0 or grey
    bits.read(1)
    is_reduced = bits.read(1)
    has_times = False
    if is_reduced:
        bits.read(5)
    else:
        has_times = _skip_operating_points(bits)
    lengths = bits.read(4) + 1, bits.read(4) + 1
    width, height = (bits.read(length) + 1 for length in lengths)
    if is_reduced:
        bits.read(6)
        return _Sequence(width * height, width * height, samples * (1 + bits.read(1)))
    has_names = bits.read(1)
    is_plain = not has_times and not has_names
    choices = _choices(bits) if is_plain else (False, False)
    return _Sequence(width * height, 1 << sum(lengths), 2 * samples, is_plain, choices)


def _choices(bits: Bits) -> tuple[bool, bool]:
    """Reads on to what a sequence leaves to its pictures, see `_Sequence.has_choices`."""
    bits.read(7)
    if bits.read(1):  # an order of pictures
        bits.read(2)
    has_screens = bits.read(1) == 1
    may_be_screens = has_screens or bits.read(1) == 1
    return has_screens, may_be_screens and bits.read(1) == 1


def _is_resized(content: bytes, sequence: _Sequence) -> bool:
    """Returns whether a picture may have another size than its sequence says."""
    if not sequence.is_plain:
        return True
    if sequence.pixels == sequence.most_pixels:
        return False
    bits = Bits(content)
    if bits.read(1):  # shows an earlier one
        return False
    kind = bits.read(2)
    is_shown = bits.read(1)
    bits.read(1 - is_shown)
    if kind == _SWITCH:
        return True
    if kind != _KEY or not is_shown:
        bits.read(1)  # whether it resists errors
    bits.read(1)
    has_screens, has_motions = sequence.has_choices
    is_screen = bits.read(1) if has_screens else 1
    if is_screen and has_motions:
        bits.read(1)
    return bits.read(1) == 1


def _skip_operating_points(bits: Bits) -> bool:
    """Returns whether pictures tell their times."""
    delay_bits = 0
    if bits.read(1):
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
    return delay_bits > 0
