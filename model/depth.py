"""Scales photos of 10 or 12 bits that lie in files of 16 bits by the range that they really have."""

import sys

import numpy as np
from PIL import Image, ImageChops, ImageFile

from model.formats.header import Header
from model.opening import opened

_BAND_PIXELS = 1_000_000
_MODES = ("RGB", "RGBA")
_NATIVE_OTHER = ";16B" if sys.byteorder == "little" else ";16L"
# Pillow keeps the high byte of each sample; read in the other byte order, a file gives the low ones.
_OTHER_ORDER = {";16B": ";16L", ";16L": ";16B", ";16N": _NATIVE_OTHER}


def range_of(top: float) -> int:
    """Returns the largest value that the samples of a 16-bit photo may have: 1023, 4095 or 65535.

    No file tells it. A photo whose brightest pixel needs no more than 10 or 12 bits was taken with so many. One below
    256 is as good as black.

    Args:
        top: The largest value that they have.
    """
    return next((most for most in (1023, 4095) if 256 <= top <= most), 65535)


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Returns whether an image in colour, which is not decoded yet, has 16 bits a sample."""
    return image.mode in _MODES and bool(image.tile) and _raw_mode(image)[-4:] in _OTHER_ORDER


def in_real_range(image: ImageFile.ImageFile, header: Header) -> Image.Image:
    """Returns an image whose samples of 16 bits are scaled to 8 by their real range.

    Args:
        image: Decoded from a file of 16 bits a sample, so that it has the high byte of each.
        header: Of that file.
    """
    tops = [int(np.max(high)) * 256 + 255 for _, high in np.array(image.getextrema(), ndmin=2)]
    most = range_of(max(tops[:3]))
    if most == 65535:
        return image
    low = opened(header)
    tile = low.tile[0]
    other = _raw_mode(low)[:-4] + _OTHER_ORDER[_raw_mode(low)[-4:]]
    low.tile = [tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other)]
    low.load()
    shift = most.bit_length() - 8
    # Transparency that uses all 16 bits stays as it is.
    is_scaled = [top <= most for top in tops]
    highs = [min(255, value << 8 - shift) if scaled else value for scaled in is_scaled for value in range(256)]
    lows = [value >> shift if scaled else 0 for scaled in is_scaled for value in range(256)]
    lines = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, lines):
        box = (0, top, image.width, min(top + lines, image.height))
        image.paste(ImageChops.add(image.crop(box).point(highs), low.crop(box).point(lows)), box)
    return image


def _raw_mode(image: ImageFile.ImageFile) -> str:
    args = image.tile[0].args
    return str(args if isinstance(args, str) else args[0] if args else "")
