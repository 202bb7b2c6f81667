"""Names RAW photos of cameras. Most are TIFFs whose first image is a thumbnail, which is not what was meant.

Source:
    Adobe DNG 1.7; TIFF/EP (ISO 12234-2): tags of the first directory.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType

_IS_SMALLER = 254
_PHOTOMETRY = 262
_MAKER = 271
_OTHER_IMAGES = 330
_DNG = 50706
_SENSOR = (32803, 34892)
"""Photometry of one colour a pixel, as a sensor has it."""

_KINDS: Mapping[bytes, str] = MappingProxyType(
    {b"NIKON": "NEF", b"SONY": "ARW", b"PENTAX": "PEF", b"RICOH": "PEF", b"SAMSUNG": "SRW", b"HASSELBLAD": "3FR"}
)
_MAX_TAGS = 200


def raw_kind(data: bytes) -> str | None:
    """Returns the usual ending of a RAW photo in a TIFF, such as CR2 or NEF; None for any other TIFF.

    Args:
        data: The whole file, which begins as a TIFF does.
    """
    if data[8:10] == b"CR" and data[:2] == b"II":
        return "CR2"
    try:
        numbers, maker = _first_directory(data)
    except struct.error:
        return None
    if _DNG in numbers:
        return "DNG"
    is_thumbnail = numbers.get(_IS_SMALLER, 0) & 1 == 1 and _OTHER_IMAGES in numbers
    if is_thumbnail or numbers.get(_PHOTOMETRY) in _SENSOR:
        return next((kind for name, kind in _KINDS.items() if maker.startswith(name)), "of a camera")
    return None


def _first_directory(data: bytes) -> tuple[dict[int, int], bytes]:
    """Returns the first directory's tags, each with its value or the place of its values, and the camera's maker."""
    order = "<" if data[:2] == b"II" else ">"
    version, begin = struct.unpack_from(f"{order}HI", data, 2)
    numbers: dict[int, int] = {}
    maker = b""
    if version != 42:
        return numbers, maker
    (count,) = struct.unpack_from(f"{order}H", data, begin)
    for index in range(min(count, _MAX_TAGS)):
        tag, kind, values, value = struct.unpack_from(f"{order}HHII", data, begin + 2 + 12 * index)
        (short,) = struct.unpack_from(f"{order}H", data, begin + 10 + 12 * index)
        numbers[tag] = short if kind == 3 else value
        if tag == _MAKER and values > 4:
            maker = data[value : value + 16].upper()
    return numbers, maker
