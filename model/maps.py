"""Maps of an explanation in the forms that people and programs take: pictures, numbers, words."""

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float32]

MOSTLY = 0.65
"""Least share of a map in one half of the photo that is called mostly there."""

MIDDLE = 0.4
"""Least share of a map in the middle quarter of the photo that is called mostly there."""


def as_levels(values: Floats) -> npt.NDArray[np.uint8]:
    """Returns a map (H, W) as levels: 255 where most speaks for the word, 0 where nothing does or something against."""
    spoken = np.maximum(values, 0)
    most = spoken.max(initial=0)
    return np.rint(255 * spoken / (most if most > 0 else 1)).astype(np.uint8)


def as_data_uri(values: Floats) -> str:
    """Returns a map (H, W) as a grey PNG of as many pixels in a data URI; see `as_levels`."""
    buffer = io.BytesIO()
    Image.fromarray(as_levels(values)).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def as_rows(values: Floats) -> list[list[float]]:
    """Returns a map (H, W) as rows of numbers with four significant digits."""
    return [[float(f"{value:.4g}") for value in row] for row in values.tolist()]


def in_words(values: Floats) -> str:
    """Returns where a map (H, W) lies, for those who do not see it: "mostly the lower half"."""
    spoken = np.maximum(values.astype(np.float64), 0)
    whole = float(spoken.sum())
    if whole <= 0:
        return "no place speaks for it"
    parts = spoken / whole
    row = _side(parts.sum(axis=1), "upper", "lower")
    column = _side(parts.sum(axis=0), "left", "right")
    if row or column:
        return f"mostly the {row} {column}" if row and column else f"mostly the {row or column} half"
    height, width = parts.shape
    middle = parts[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return "mostly the middle" if middle.sum() >= MIDDLE else "all over the photo"


def _side(shares: npt.NDArray[np.float64], first: str, second: str) -> str:
    """Returns which half has most of the shares of rows or columns; the middle one of an odd number counts for both."""
    half = len(shares) // 2
    middle = shares[half : len(shares) - half].sum() / 2
    before = shares[:half].sum() + middle
    if before >= MOSTLY:
        return first
    return second if 1 - before >= MOSTLY else ""
