"""TIFF: the directory of its first image.

Source:
    Adobe TIFF 6.0, section 2 (directories), 8 (baseline fields), 15 (tiles); BigTIFF as libtiff reads it.
"""

import re
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from model.formats.header import DamagedFileError, Header, count_parts
from model.formats.icc import MAX_PROFILE_BYTES, rgb_profile

_WIDTH = 256
_LENGTH = 257
_BITS = 258
_COMPRESSION = 259
_STRIP_OFFSETS = 273
_ORIENTATION = 274
_SAMPLES = 277
_ROWS_PER_STRIP = 278
_STRIP_BYTES = 279
_TILE_WIDTH = 322
_TILE_LENGTH = 323
_TILE_OFFSETS = 324
_TILE_BYTES = 325
_JPEG_TABLES = 347

_PROFILE = 34675
_TOLD = (_ORIENTATION, _PROFILE)

_PIECES = frozenset({_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES})
_NEEDED: frozenset[int] = _PIECES | {
    _WIDTH, _LENGTH, _BITS, _COMPRESSION, _SAMPLES, _ROWS_PER_STRIP, _TILE_WIDTH, _TILE_LENGTH, _JPEG_TABLES,
    262, 266, 284, 292, 293, 317, 320, 332, 338, 339, 530, 532,
}  # fmt: skip
"""Tags of how pixels are stored: photometry, fill order, planes, fax options, predictor, colours, samples, YCbCr."""

_MAX_TAGS = 4096
_MAX_VALUE_BYTES = 1024**2
_MAX_SAMPLES = 8
_RAW = 1
_JPEG = (6, 7)
_PHOTOMETRY = 262
_YCBCR = 6

_MAX_COEFFICIENT_BYTES = 100 * 1024**2
"""Most that libtiff lets libjpeg hold of a JPEG in several scans, whatever size that claims for itself."""

# Number of components of frames in one scan, and of scans: where they differ, there are or may be more scans.
_JPEG_FRAME = re.compile(rb"\xff[\xc0\xc1].{7}(.)", re.DOTALL)
_JPEG_SCAN = re.compile(rb"\xff\xda..(.)", re.DOTALL)
_JPEG_OTHER_FRAME = re.compile(rb"\xff[\xc2\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]")

_KINDS: Mapping[int, str] = MappingProxyType({1: "B", 2: "s", 3: "H", 4: "I", 5: "Q", 7: "s", 11: "f", 16: "Q"})
"""Formats, and so sizes, of the types that the needed tags have."""


class _Layout(NamedTuple):
    """How a file writes numbers: its byte order, and the formats of a directory's length, entries and offsets."""

    order: str
    length: str
    entry: str
    word: str


class _Entry(NamedTuple):
    """One entry of a directory, with the position of its values."""

    raw: bytes
    kind: str
    values: int
    position: int


_CLASSIC = ("H", "HHI", "I")
_BIG = ("Q", "HHQ", "Q")


def inspect(data: bytes) -> Header:
    """Reads the first directory of a TIFF.

    Args:
        data: The whole file.

    Returns:
        Its header, and the file with a directory of one image that holds needed entries alone; their values and the
        pixels stay where they are.

    Raises:
        DamagedFileError: The directory breaks the rules, or names more strips, tiles or bytes of values than it may.
        struct.error: It points beyond the file.
    """
    layout, begin = _read_layout(data)
    entries = _read_directory(data, layout, begin)
    numbers = {tag: _first(data, layout, entry) for tag, entry in entries.items() if tag not in _PIECES}
    width = numbers.get(_WIDTH, 0)
    height = numbers.get(_LENGTH, 0)
    if not width or not height:
        raise DamagedFileError("expected width and length in a TIFF, received none")
    samples = numbers.get(_SAMPLES, 1)
    bits = numbers.get(_BITS, 1)
    if not 1 <= samples <= _MAX_SAMPLES or bits > 64:
        raise DamagedFileError(f"expected at most {_MAX_SAMPLES} samples of 64 bits in a TIFF, received more")
    pixels = width * height
    piece = _piece_pixels(numbers, width, height)
    piece_bytes = _piece_bytes(data, numbers, piece * -(-samples * bits // 8), piece)
    orientation = numbers.pop(_ORIENTATION, 1)
    return Header(
        format="TIFF", width=width, height=height, largest_pixels=max(pixels, piece),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        # The image, twice where `model.depth` may decode it again, and the piece of it that is decoded.
        decoded_bytes=pixels * (4 * (1 + (bits > 8)) if samples > 1 else 4 if bits > 16 else 1 + (bits > 8))
        + piece_bytes,
        decode_seconds=max(pixels, piece) * 15e-9,
        data=_with_directory(data, layout, [entry.raw for tag, entry in sorted(entries.items()) if tag in _NEEDED]),
        profile=_profile(data, entries.get(_PROFILE)),
    )  # fmt: skip


def _read_layout(data: bytes) -> tuple[_Layout, int]:
    """Returns the layout of numbers, and the offset of the first directory."""
    order = "<" if data[:2] == b"II" else ">"
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    layout = _Layout(order, *(_BIG if version == 43 else _CLASSIC))
    (begin,) = struct.unpack_from(order + layout.word, data, 8 if version == 43 else 4)
    return layout, begin


def _read_directory(data: bytes, layout: _Layout, begin: int) -> dict[int, _Entry]:
    order = layout.order
    word = layout.word
    (count,) = struct.unpack_from(order + layout.length, data, begin)
    count_parts(count, "tags of a TIFF", most=_MAX_TAGS)
    head = struct.calcsize(order + layout.entry)
    inline = struct.calcsize(order + word)
    position = begin + struct.calcsize(order + layout.length)
    entries: dict[int, _Entry] = {}
    for _ in range(count):
        tag, kind, values = struct.unpack_from(order + layout.entry, data, position)
        if (tag in _NEEDED or tag in _TOLD) and tag not in entries and not _is_odd_profile(tag, kind, values):
            if kind not in _KINDS:
                raise DamagedFileError(f"expected a known type of tag {tag} in a TIFF, received type {kind}")
            size = values * struct.calcsize(order + _KINDS[kind])
            _check_size(tag, values, size)
            at = position + head
            place = at if size <= inline else struct.unpack_from(order + word, data, at)[0]
            entries[tag] = _Entry(data[position : at + inline], _KINDS[kind], values, place)
        position += head + inline
    return entries


def _is_odd_profile(tag: int, kind: int, values: int) -> bool:
    """Returns whether an entry is a colour profile that is too large or no row of bytes; the photo does without it."""
    return tag == _PROFILE and (kind not in (1, 7) or values > MAX_PROFILE_BYTES)


def _check_size(tag: int, values: int, size: int) -> None:
    if tag in _PIECES:
        count_parts(values, "strips or tiles of a TIFF")
    else:
        count_parts(size, f"bytes of tag {tag} in a TIFF", most=_MAX_VALUE_BYTES)


def _first(data: bytes, layout: _Layout, entry: _Entry) -> int:
    """Returns the largest value of an entry of whole numbers; 0 for any other entry."""
    if entry.kind not in "BHIQ" or not entry.values:
        return 0
    return int(max(struct.unpack_from(f"{layout.order}{min(entry.values, 16)}{entry.kind}", data, entry.position)))


def _profile(data: bytes, entry: _Entry | None) -> bytes:
    return rgb_profile(data[entry.position : entry.position + entry.values]) if entry else b""


def _piece_pixels(numbers: Mapping[int, int], width: int, height: int) -> int:
    """Returns the pixels of one strip or tile, the unit of decoding. A tile may be larger than its image."""
    if _TILE_WIDTH in numbers and _TILE_LENGTH in numbers:
        return numbers[_TILE_WIDTH] * numbers[_TILE_LENGTH]
    return width * min(height, numbers.get(_ROWS_PER_STRIP, height) or height)


def _piece_bytes(data: bytes, numbers: Mapping[int, int], stored_bytes: int, pixels: int) -> int:
    """Returns the memory to decode one strip or tile, besides the image's."""
    compression = numbers.get(_COMPRESSION, _RAW)
    if compression == _RAW:
        return 0
    if compression in _JPEG:
        frames = set(_JPEG_FRAME.findall(data))
        scans = set(_JPEG_SCAN.findall(data))
        is_buffered = frames != scans or len(scans) != 1 or _JPEG_OTHER_FRAME.search(data) is not None
        stored_bytes += _MAX_COEFFICIENT_BYTES if is_buffered else 0
    # Colours of this kind become RGB in a buffer of their own.
    return max(stored_bytes, 4 * pixels) if numbers.get(_PHOTOMETRY) == _YCBCR else stored_bytes


def _with_directory(data: bytes, layout: _Layout, entries: list[bytes]) -> bytes:
    """Returns the file with a new directory at its end as its only one."""
    padded = data + b"\0" * (len(data) % 2)
    order = layout.order
    word = layout.word
    directory = struct.pack(order + layout.length, len(entries)) + b"".join(entries) + struct.pack(order + word, 0)
    at = struct.calcsize(order + word)  # of the offset: 4, or 8 in a BigTIFF
    return padded[:at] + struct.pack(order + word, len(padded)) + padded[2 * at :] + directory
