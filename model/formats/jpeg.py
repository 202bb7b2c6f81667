"""JPEG: segments up to the first scan, and how many scans there are.

Source:
    ITU-T T.81, annex B: a marker is followed by the length of its segment, and in a scan's data 0xff by 0x00.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from model.config import IMAGE_PIXELS
from model.formats.exif import orientation_of
from model.formats.header import DamagedFileError, Header, count_parts
from model.formats.icc import MAX_PROFILE_BYTES, rgb_profile

MAX_SCANS = 100
"""Most scans of an image of ten megapixels; a progressive file has about ten, and each goes over the whole image."""

_MAX_SCANNED_PIXELS = 1_000_000_000
_ALWAYS_SCANS = 12

MAX_SEGMENTS = 2048
"""Most segments in all: a few for tables and each scan, and some hundred for a large colour profile or XMP."""

_MAX_TABLES = 64
"""Most segments that are kept in front of the first scan; four tables of each of three kinds are all there can be."""

_SEARCHED_BYTES = 64 * 1024

# Not those that stand alone, without a length: 0x01 (TEM), and 0xd0 to 0xd7, which are within a scan.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)
_START_OF_IMAGE = 0xD8
_END_OF_IMAGE = 0xD9
_START_OF_SCAN = 0xDA
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_ONE_SCAN_FRAMES = frozenset({0xC0, 0xC1, 0xC3})
_EXIF_SEGMENT = 0xE1
_EXIF = b"Exif\0\0"
_PROFILE_SEGMENT = 0xE2
_PROFILE = b"ICC_PROFILE\0"

_NEEDED: Mapping[int, bytes] = MappingProxyType(
    dict.fromkeys(_FRAMES, b"")
    # Huffman tables, arithmetic conditioning, quantisation tables and the restart interval.
    | dict.fromkeys((0xC4, 0xCC, 0xDB, 0xDD), b"")
    # JFIF and Adobe tell which colours the components are.
    | {0xE0: b"JFIF\0", 0xEE: b"Adobe", _EXIF_SEGMENT: _EXIF, _PROFILE_SEGMENT: _PROFILE}
)
"""Segments that are read in front of the first scan, with what the content of each must begin with."""


class _Segment(NamedTuple):
    """One marker with its content; `begin` is the marker's position."""

    code: int
    begin: int
    end: int


class _Head(NamedTuple):
    """The part of a JPEG in front of its first scan: what decoding needs, the frame, EXIF, profile, and the scan."""

    kept: list[bytes]
    frame: bytes
    exif: bytes
    profile: list[bytes]
    scan: _Segment


def inspect(data: bytes) -> Header:
    """Reads the segments of a JPEG.

    Args:
        data: The whole file.

    Returns:
        Its header, and the file without comments, thumbnails and application segments but those that tell its colours.

    Raises:
        DamagedFileError: It has no frame or no scan, two frames, or more segments, tables or scans than it may.
    """
    segments = _segments(data)
    head = _read_head(data, segments)
    height, width = struct.unpack_from(">HH", head.frame, 5)
    scans, end = _scans(data, segments, head.scan, width * height)
    # The first scan decides: libjpeg waits for others where it has not all components, though there may be none.
    is_whole = data[head.scan.begin + 4 : head.scan.begin + 5] == head.frame[9:10]
    is_buffered = scans > 1 or not is_whole or head.frame[1] not in _ONE_SCAN_FRAMES
    scale = _draft_scale(width, height)
    output = 4 * -(-width // scale) * -(-height // scale)
    return Header(
        format="JPEG", width=width, height=height, largest_pixels=width * height,
        orientation=orientation_of(head.exif),
        decoded_bytes=output + (_coefficient_bytes(head.frame, width, height) if is_buffered else 0),
        decode_seconds=width * height * 3e-9 * (1 + 0.3 * (scans - 1)) + output * 3e-9,
        data=b"\xff\xd8" + b"".join(head.kept) + data[head.scan.begin : end],
        profile=_joined_profile(head.profile),
    )  # fmt: skip


def _segments(data: bytes) -> Iterator[_Segment]:
    """Yields the segments up to the end of the image; the last may reach beyond the data."""
    position = 0
    parts = 0
    while marker := _next_marker(data, position):
        (code,) = marker[1]
        position = marker.end()
        if code not in (_START_OF_IMAGE, _END_OF_IMAGE):
            position += int.from_bytes(data[position : position + 2], "big")
        parts += 1
        count_parts(parts, "JPEG segments", most=MAX_SEGMENTS)
        yield _Segment(code, marker.end() - 2, position)
        if code == _END_OF_IMAGE:
            return


def _next_marker(data: bytes, position: int) -> "re.Match[bytes] | None":
    """Finds a marker piece by piece, because the search of one piece holds the GIL."""
    while position < len(data):
        if marker := _MARKER.search(data, position, position + _SEARCHED_BYTES):
            return marker
        position += _SEARCHED_BYTES - 1  # a marker is two bytes long
    return None


def _read_head(data: bytes, segments: Iterator[_Segment]) -> _Head:
    kept: list[bytes] = []
    profile: list[bytes] = []
    exif = b""
    frame = b""
    for found in segments:
        if found.code == _START_OF_SCAN and frame:
            return _Head(kept, frame, exif, profile, found)
        segment = data[found.begin : found.end] if found.code in _NEEDED else b""
        if not segment[4:].startswith(_NEEDED.get(found.code, b"")):
            continue
        if found.code == _EXIF_SEGMENT:
            exif = exif or segment[4 + len(_EXIF) :]
        elif found.code == _PROFILE_SEGMENT:
            profile.append(segment[4 + len(_PROFILE) :])
        elif segment:
            kept.append(segment)
        if found.code in _FRAMES:
            frame = segment
            count_parts(sum(one[1] in _FRAMES for one in kept), "frames of a JPEG", most=1)
        count_parts(len(kept), "tables of a JPEG", most=_MAX_TABLES)
    raise DamagedFileError("expected a frame and then a scan in a JPEG, received none")


def _joined_profile(pieces: list[bytes]) -> bytes:
    """Returns the profile whose numbered pieces stand in several segments; nothing where any is missing."""
    numbered = {piece[0]: piece[2:] for piece in pieces if len(piece) > 2}
    is_whole = sorted(numbered) == list(range(1, len(pieces) + 1))
    if not is_whole or sum(map(len, numbered.values())) > MAX_PROFILE_BYTES:
        return b""
    return rgb_profile(b"".join(numbered[number] for number in sorted(numbered)))


def _scans(data: bytes, segments: Iterator[_Segment], first: _Segment, pixels: int) -> tuple[int, int]:
    """Returns the number of scans, and where the image ends."""
    most = max(_ALWAYS_SCANS, min(MAX_SCANS, _MAX_SCANNED_PIXELS // max(1, pixels)))
    scans = 1
    end = len(data)
    for segment in segments:
        scans += segment.code == _START_OF_SCAN
        if scans > most:
            raise DamagedFileError(
                f"expected a JPEG of at most {most} scans at this size, received more; save it again in an image editor"
            )
        if segment.code == _END_OF_IMAGE:
            end = segment.end
    return scans, max(end, first.end)


def _coefficient_bytes(frame: bytes, width: int, height: int) -> int:
    """Returns the size of all coefficients, which libjpeg keeps in memory for an image of several scans."""
    factors = [(byte >> 4, byte & 15) for byte in frame[11 : 11 + 3 * frame[9] : 3]]
    if not factors or any(not 1 <= factor <= 4 for pair in factors for factor in pair):
        raise DamagedFileError("expected sampling factors from 1 to 4 in a JPEG, received others")
    widest = max(across for across, _ in factors)
    tallest = max(down for _, down in factors)
    units = -(-width // (8 * widest)) * -(-height // (8 * tallest))
    return 2 * 64 * units * sum(across * down for across, down in factors)


def _draft_scale(width: int, height: int) -> int:
    """Returns the factor by which decoding scales the image down; see `model.image`."""
    scale = min(width, height) // (2 * IMAGE_PIXELS)
    return next((step for step in (8, 4, 2) if scale >= step), 1)
