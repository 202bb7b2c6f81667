"""Deletion and insertion: how a word's probability falls when the places of a map are covered, and how it rises again.

Source:
    Petsiuk et al. 2018, RISE, sec. 4.3 (arXiv:1806.07421). Deviations: the places are those of the map, not pixels, and
    are covered by the photo's mean colour; the probability is that of a word after the words before it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Images = npt.NDArray[np.uint8]
Order = npt.NDArray[np.intp]
"""Places of a map (H, W), counted row by row, in the order in which they are covered or uncovered."""

BLUR_PIXELS = 16
"""Standard deviation of the blur that insertion begins with: nothing as small as a head is left."""


def by_map(values: npt.NDArray[np.floating]) -> Order:
    """Returns the places of a map, the strongest first."""
    return np.argsort(-values.reshape(-1), kind="stable")


def at_random(height: int, width: int, random: np.random.Generator) -> Order:
    """Returns the places of a map at random."""
    return random.permutation(height * width)


def from_the_centre(height: int, width: int) -> Order:
    """Returns the places of a map from the centre outwards: photographers put there what they show."""
    rows = np.arange(height)[:, None] - (height - 1) / 2
    columns = np.arange(width) - (width - 1) / 2
    return np.argsort(((rows / height) ** 2 + (columns / width) ** 2).reshape(-1), kind="stable")


def deleted(image: Images, order: Order, shape: tuple[int, int], steps: int) -> Iterator[Images]:
    """Yields an image (H, W, 3) with more and more places covered, in so many equal steps, the whole one first."""
    mean = np.broadcast_to(image.mean(axis=(0, 1)).round().astype(np.uint8), image.shape)
    return _replaced(image, mean, order, shape, steps)


def inserted(image: Images, order: Order, shape: tuple[int, int], steps: int) -> Iterator[Images]:
    """Yields a blurred image (H, W, 3) with more and more places as they are, in so many equal steps."""
    blurred = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(BLUR_PIXELS)))
    return _replaced(blurred, image, order, shape, steps)


def area(curve: Sequence[float] | npt.NDArray[np.floating]) -> float:
    """Returns the area under a curve over equal steps from 0 to 1."""
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def _replaced(image: Images, other: Images, order: Order, shape: tuple[int, int], steps: int) -> Iterator[Images]:
    row_of, column_of = (np.arange(side) * count // side for side, count in zip(image.shape, shape, strict=False))
    place = row_of[:, None] * shape[1] + column_of  # (H, W)
    rank = np.empty(len(order), np.intp)
    rank[order] = np.arange(len(order))
    for step in range(steps + 1):
        is_replaced = rank[place] < round(step * len(order) / steps)
        yield np.where(is_replaced[:, :, None], other, image)
