"""The pointing game on made pictures: does the map of a word lie on its thing?

Source:
    The pointing game (Zhang et al. 2016, arXiv:1608.00507), on drawn pictures with one thing left and one right, and on
    grids of photos (Böhle et al. 2021, arXiv:2104.00032).
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from model.config import IMAGE_PIXELS

Images = npt.NDArray[np.uint8]
Box = tuple[slice, slice]
"""Rows and columns of an image, in pixels."""

HALF = IMAGE_PIXELS // 2
LEFT: Box = (slice(0, IMAGE_PIXELS), slice(0, HALF))
RIGHT: Box = (slice(0, IMAGE_PIXELS), slice(HALF, IMAGE_PIXELS))
QUARTERS: tuple[Box, ...] = tuple(
    (slice(row, row + HALF), slice(column, column + HALF)) for row in (0, HALF) for column in (0, HALF)
)

_SCALE = 4
"""Pictures are drawn larger, so that their edges are smooth when they are made smaller."""


class Question(NamedTuple):
    """A made picture, a word that is asked for, and the box that its thing lies in."""

    picture: Images
    word: str
    box: Box


def drawn_questions(count: int, seed: int = 0) -> list[Question]:
    """Returns questions about drawn pictures: a dog, a boat or a car left, and another of them right.

    Args:
        count: How many pictures; each has two questions.
        seed: Of their places, sizes and colours.
    """
    random = np.random.default_rng(seed)
    pairs = list(permutations(_DRAWN, 2))
    questions = []
    for number in range(count):
        left, right = pairs[number % len(pairs)]
        picture = _drawn(left, right, random)
        questions += [Question(picture, left, LEFT), Question(picture, right, RIGHT)]
    return questions


def grid_questions(photos: Sequence[Images], words: Sequence[Sequence[str]], seed: int = 0) -> list[Question]:
    """Returns questions about grids of four photos: a word that one photo's caption has and the others' lack.

    Args:
        photos: Each of shape (224, 224, 3).
        words: Words of each photo's caption that could be asked for, the best first.
        seed: Of which photos are put together.
    """
    order = np.random.default_rng(seed).permutation(len(photos))
    questions = []
    for begin in range(0, len(order) - 3, 4):
        chosen = [int(index) for index in order[begin : begin + 4]]
        picture = _grid([photos[index] for index in chosen])
        for place, index in enumerate(chosen):
            others = {word for other in chosen if other != index for word in words[other]}
            own = next((word for word in words[index] if word not in others), None)
            if own is not None:
                questions.append(Question(picture, own, QUARTERS[place]))
    return questions


def points_into(values: npt.NDArray[np.floating], box: Box) -> bool:
    """Returns whether the middle of a map's strongest place lies in a box of the image."""
    row, column = divmod(int(values.argmax()), values.shape[1])
    down = (row + 0.5) * IMAGE_PIXELS / values.shape[0]
    across = (column + 0.5) * IMAGE_PIXELS / values.shape[1]
    return bool(box[0].start <= down < box[0].stop and box[1].start <= across < box[1].stop)


def share_in(values: npt.NDArray[np.floating], box: Box) -> float:
    """Returns the share of a map's positive places, by their strength, that lies in a box of the image."""
    spoken = np.maximum(values, 0)
    rows, columns = (
        slice(round(side.start * count / IMAGE_PIXELS), round(side.stop * count / IMAGE_PIXELS))
        for side, count in zip(box, values.shape, strict=True)
    )
    return float(spoken[rows, columns].sum() / max(spoken.sum(), 1e-12))


def _grid(photos: Sequence[Images]) -> Images:
    picture = np.empty((IMAGE_PIXELS, IMAGE_PIXELS, 3), np.uint8)
    for box, photo in zip(QUARTERS, photos, strict=True):
        picture[box] = np.asarray(Image.fromarray(photo).resize((HALF, HALF), Image.Resampling.BILINEAR))
    return picture


def _drawn(left: str, right: str, random: np.random.Generator) -> Images:
    side = IMAGE_PIXELS * _SCALE
    image = Image.new("RGB", (side, side), (170, 205, 235))
    pencil = ImageDraw.Draw(image)
    horizon = int(random.uniform(0.4, 0.55) * side)
    for thing, start in ((left, 0), (right, side // 2)):
        ground = (70, 120, 175) if thing == "boat" else (95, 150, 70) if thing == "dog" else (120, 120, 125)
        pencil.rectangle((start, horizon, start + side // 2, side), fill=ground)
        size = random.uniform(0.36, 0.44) * side
        middle = (start + side / 4 + random.uniform(-0.02, 0.02) * side, side * random.uniform(0.55, 0.65))
        _DRAWN[thing](_Pencil(pencil, middle, size), random)
    small = image.resize((IMAGE_PIXELS, IMAGE_PIXELS), Image.Resampling.LANCZOS)
    return np.asarray(small.filter(ImageFilter.GaussianBlur(0.6)))


class _Pencil:
    """A pencil in units of one thing: its middle is (0, 0), and it is 1 wide."""

    def __init__(self, pencil: ImageDraw.ImageDraw, middle: tuple[float, float], size: float) -> None:
        self._pencil = pencil
        self._middle = middle
        self._size = size

    def ellipse(self, left: float, top: float, right: float, bottom: float, fill: tuple[int, ...]) -> None:
        self._pencil.ellipse((*self._at(left, top), *self._at(right, bottom)), fill=fill)

    def polygon(self, *points: tuple[float, float], fill: tuple[int, ...]) -> None:
        self._pencil.polygon([self._at(*point) for point in points], fill=fill)

    def line(self, *points: tuple[float, float], width: float, fill: tuple[int, ...]) -> None:
        self._pencil.line([self._at(*p) for p in points], fill=fill, width=round(width * self._size), joint="curve")

    def _at(self, across: float, down: float) -> tuple[float, float]:
        return self._middle[0] + across * self._size, self._middle[1] + down * self._size


def _dog(pencil: _Pencil, random: np.random.Generator) -> None:
    coat = tuple(int(value) for value in np.array([160, 105, 55]) + random.integers(-30, 30))
    dark = tuple(value // 2 for value in coat)
    for left in (-0.26, -0.16, 0.16, 0.26):
        pencil.line((left, 0.08), (left - 0.01, 0.36), width=0.075, fill=coat)
    pencil.line((0.3, -0.06), (0.42, -0.18), (0.46, -0.3), width=0.05, fill=coat)
    pencil.ellipse(-0.34, -0.14, 0.36, 0.18, coat)
    pencil.line((-0.26, 0.0), (-0.34, -0.22), width=0.17, fill=coat)
    pencil.ellipse(-0.48, -0.4, -0.2, -0.14, coat)
    pencil.ellipse(-0.6, -0.3, -0.34, -0.15, coat)
    pencil.ellipse(-0.27, -0.38, -0.17, -0.1, dark)
    pencil.ellipse(-0.61, -0.28, -0.55, -0.22, (30, 25, 25))
    pencil.ellipse(-0.42, -0.33, -0.38, -0.29, (20, 20, 20))


def _boat(pencil: _Pencil, random: np.random.Generator) -> None:
    hull = tuple(int(value) for value in random.choice([[185, 45, 40], [245, 245, 240], [40, 60, 110]]))
    pencil.line((0, -0.62), (0, 0.14), width=0.03, fill=(90, 65, 40))
    pencil.polygon((0.03, -0.6), (0.03, 0.04), (0.4, 0.04), fill=(250, 248, 240))
    pencil.polygon((-0.03, -0.5), (-0.03, 0.04), (-0.3, 0.04), fill=(235, 230, 215))
    pencil.polygon((-0.46, 0.1), (0.48, 0.1), (0.34, 0.3), (-0.32, 0.3), fill=hull)
    pencil.line((-0.5, 0.31), (0.5, 0.31), width=0.03, fill=(200, 220, 240))


def _car(pencil: _Pencil, random: np.random.Generator) -> None:
    paint = tuple(int(value) for value in random.choice([[200, 30, 30], [30, 80, 180], [235, 200, 40]]))
    pencil.polygon((-0.26, -0.02), (-0.14, -0.2), (0.16, -0.2), (0.3, -0.02), fill=paint)
    pencil.polygon((-0.2, -0.03), (-0.11, -0.16), (0.0, -0.16), (0.0, -0.03), fill=(200, 225, 240))
    pencil.polygon((0.03, -0.03), (0.03, -0.16), (0.14, -0.16), (0.23, -0.03), fill=(200, 225, 240))
    pencil.polygon((-0.48, 0.0), (-0.42, -0.05), (0.44, -0.05), (0.48, 0.02), (0.48, 0.16), (-0.48, 0.16), fill=paint)
    for middle in (-0.28, 0.28):
        pencil.ellipse(middle - 0.11, 0.06, middle + 0.11, 0.28, (25, 25, 25))
        pencil.ellipse(middle - 0.05, 0.12, middle + 0.05, 0.22, (170, 170, 175))
    pencil.ellipse(-0.49, 0.02, -0.43, 0.08, (255, 245, 190))


_DRAWN: Mapping[str, Callable[[_Pencil, np.random.Generator], None]] = MappingProxyType(
    {"dog": _dog, "boat": _boat, "car": _car}
)
