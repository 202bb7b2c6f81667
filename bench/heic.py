"""Writes HEIC files without compression: Pillow writes none, and libraries that do need x265, which is under GPL-2.

Each block of 32x32 pixels is a slice of its own and has its samples as they are. So what stands around them is always
the same: the arithmetic code of "not split, samples follow" in front of them, and that of "end" behind them.

Source:
    ITU-T H.265, 7.3.1.2 (units), 7.3.2 (parameters), 7.3.6 (slices), 7.3.8.7 (samples as they are); ISO/IEC 14496-15,
    8.3.3 (`hvcC`); ISO/IEC 23008-12, 6.5 (properties).
"""

import re
import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.formats.boxes import Property
from model.formats.stills import Item, write_still

_BLOCK = 32
_BEFORE = b"\x86\x80"
_BEHIND = b"\xfe\x80"

_CHROMA = MappingProxyType({400: 0, 420: 1, 444: 3})
"""Numbers of H.265 for how the colours are subsampled."""

_COLOURS = b"nclx" + struct.pack(">HHHB", 1, 13, 6, 0x80)
"""Those of sRGB in YCbCr as JPEG has it."""

_ALPHA = b"\0\0\0\0urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"

_TURNS: Mapping[int, tuple[int, int | None]] = MappingProxyType(
    {2: (0, 1), 3: (2, None), 4: (0, 0), 5: (1, 0), 6: (3, None), 7: (1, 1), 8: (1, None)}
)
"""By EXIF's orientation: right angles to the left, and then over which axis the image is mirrored."""


def heic(
    image: Image.Image, *, icc_profile: bytes = b"", orientation: int = 1, chroma: int = 420, bits: int = 8
) -> bytes:
    """Returns the bytes of a HEIC.

    Args:
        image: Is stored as grey in mode L, with transparency in mode RGBA, and as RGB in all others.
        icc_profile: Profile of its colours; none by default.
        orientation: As EXIF would tell it, 1 to 8.
        chroma: How colours are subsampled, 420 or 444.
        bits: For each sample, from 8 to 12.
    """
    grey = image.mode == "L"
    properties = _properties(image.size, 400 if grey else chroma, orientation)
    properties.append((b"colr", _COLOURS))
    if icc_profile:
        properties.append((b"colr", b"prof" + icc_profile))
    colours = image if grey else image.convert("RGB").convert("YCbCr")
    items = [_item(1, colours, 400 if grey else chroma, bits, properties)]
    if image.mode != "RGBA":
        return write_still(b"heic", items, [])
    others = [*_properties(image.size, 400, 1), (b"auxC", _ALPHA)]
    items.append(_item(2, image.getchannel("A"), 400, bits, others))
    return write_still(b"heic", items, [(b"auxl", 2, 1)])


def sequence_parameters(width: int, height: int, *, chroma: int = 420, bits: int = 8) -> bytes:
    """Returns the unit that tells a decoder how large a picture is: whole blocks, of which the rest is cut off.

    Args:
        width: In pixels, even where colours are subsampled.
        height: Likewise.
        chroma: How colours are subsampled, 400, 420 or 444.
        bits: For each sample.
    """
    samples = f"{bits - 1:04b}" * 2
    unit_pixels = 2 if chroma == 420 else 1
    right = -width % _BLOCK
    bottom = -height % _BLOCK
    parts = (
        "0" * 7 + "1" + _profile(chroma, bits), golomb(0, _CHROMA[chroma]), "0" if chroma == 444 else "",
        golomb(width + right, height + bottom), "1", golomb(0, right // unit_pixels, 0, bottom // unit_pixels),
        golomb(bits - 8, bits - 8, 0), "1", golomb(0, 0, 0),
        # Blocks, and transforms that never come.
        golomb(2, 0, 0, 3, 0, 0), "000",
        # Samples as they are, for blocks of that one size.
        "1", samples, golomb(2, 0), "1", golomb(0), "00000",
    )  # fmt: skip
    return unit(33, "".join(parts))


def configuration(*units: bytes) -> bytes:
    """Returns the content of an `hvcC` that has these units, each behind two bytes that tell its kind."""
    arrays = b"".join(bytes([0x80 | one[0] >> 1]) + struct.pack(">HH", 1, len(one)) + one for one in units)
    return b"\1\3\x10" + bytes(10) + b"\xf0\0\xfc\xfd\xf8\xf8\0\0\x0f" + bytes([len(units)]) + arrays


def unit(kind: int, bits: str, samples: bytes = b"") -> bytes:
    """Returns a unit; in what follows its bits, no three bytes look like the begin of one."""
    return bytes([kind << 1, 1]) + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", packed(bits) + samples)


def packed(bits: str) -> bytes:
    """Returns bits with a 1 behind them, filled up with zeros to whole bytes."""
    length = len(bits) // 8 + 1
    return int((bits + "1").ljust(8 * length, "0"), 2).to_bytes(length, "big")


def golomb(*numbers: int) -> str:
    """Returns numbers in the Exponential-Golomb code."""
    return "".join(f"{number + 1:0{2 * (number + 1).bit_length() - 1}b}" for number in numbers)


def _item(number: int, image: Image.Image, chroma: int, bits: int, properties: list[Property]) -> Item:
    even = 2 if chroma == 420 else 1
    width, height = (side + -side % even for side in image.size)
    parameters = (
        unit(32, "0000" + "11" + "0" * 6 + "000" + "1" + "1" * 16 + _profile(chroma, bits) + "1" + golomb(0, 0, 0)
             + "0" * 6 + golomb(0) + "00"),
        sequence_parameters(width, height, chroma=chroma, bits=bits),
        unit(34, golomb(0, 0) + "0" * 7 + golomb(0, 0, 0) + "000" + golomb(0, 0) + "0" * 7 + "101" + "00" + golomb(0)
             + "00"),
    )  # fmt: skip
    slices = b"".join(struct.pack(">I", len(one)) + one for one in _slices(_planes(image, chroma), bits))
    return Item(number, b"hvc1", slices, [(b"hvcC", configuration(*parameters)), *properties])


def _profile(chroma: int, bits: int) -> str:
    number = 4 if chroma == 444 or bits > 10 else 1 + (bits > 8)
    flags = "0" * number + "1"
    return f"{number:08b}" + flags.ljust(32, "0") + "1001" + "0" * 44 + f"{186:08b}"


def _planes(image: Image.Image, chroma: int) -> list[npt.NDArray[np.uint16]]:
    """Returns the samples of each colour, the edges repeated up to whole blocks. Shapes (H, W)."""
    width, height = image.size
    planes: list[npt.NDArray[np.uint16]] = []
    for plane in image.split():
        samples = np.pad(np.asarray(plane, np.uint16), ((0, -height % _BLOCK), (0, -width % _BLOCK)), "edge")
        if planes and chroma == 420:
            samples = samples.reshape(samples.shape[0] // 2, 2, -1, 2).mean((1, 3)).round().astype(np.uint16)
        planes.append(samples)
    return planes


def _slices(planes: list[npt.NDArray[np.uint16]], bits: int) -> Iterator[bytes]:
    """Yields a unit for each block."""
    height, width = planes[0].shape
    blocks = [(top, left) for top in range(0, height, _BLOCK) for left in range(0, width, _BLOCK)]
    places = np.arange(bits - 1, -1, -1)
    for number, (top, left) in enumerate(blocks):
        address = f"{number:0{(len(blocks) - 1).bit_length()}b}" if number else ""
        parts = [
            plane[top // scale : (top + _BLOCK) // scale, left // scale : (left + _BLOCK) // scale].ravel()
            for plane in planes
            for scale in [height // plane.shape[0]]
        ]
        bytes_each = np.concatenate(parts).astype(np.uint32)
        samples = bytes_each << (bits - 8) | bytes_each >> (16 - bits)
        stored = np.packbits((samples[:, None] >> places & 1).astype(np.uint8)).tobytes()
        first = "0" if number else "1"
        yield unit(20, first + "0" + golomb(0) + address + golomb(2, 0), _BEFORE + stored + _BEHIND)


def _properties(size: tuple[int, int], chroma: int, orientation: int) -> list[Property]:
    """Returns the properties for size and orientation; a picture of subsampled colours has an even size and is cut."""
    width, height = size
    even = 2 if chroma == 420 else 1
    wide, high = (side + -side % even for side in size)
    properties = [(b"ispe", struct.pack(">III", 0, wide, high))]
    if (wide, high) != size:
        properties.append((b"clap", struct.pack(">4I2i2i", width, 1, height, 1, width - wide, 2, height - high, 2)))
    turns, axis = _TURNS.get(orientation, (0, None))
    if turns:
        properties.append((b"irot", bytes([turns])))
    if axis is not None:
        properties.append((b"imir", bytes([axis])))
    return properties
