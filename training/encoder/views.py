"""The views of photos for teacher and student: whole, cropped at random, or two crops mixed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.config import IMAGE_PIXELS
from model.errors import DataError, ImageError
from model.image import read_image
from training.config import DistillConfig
from training.progress import progress

MIXED_EVERY = 3
"""Every third view of a photo, the last of each three, is a mixture of two photos."""

Pixels = npt.NDArray[np.uint8]


class Photos:
    """Photos by row. A photo that the data set names twice has two rows, and is kept once.

    Args:
        pixels: The distinct photos. Shape (any, 224, 224, 3), uint8.
        places: Position in `pixels` of every row. Shape (P,), int64.
    """

    def __init__(self, pixels: Pixels, places: npt.NDArray[np.int64]) -> None:
        self._pixels = pixels
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, row: int) -> Pixels:
        photo: Pixels = self._pixels[self._places[row]]
        return photo


def view_of(photos: Photos, row: int, view: int, config: DistillConfig) -> Pixels:
    """Makes one view of a photo, the same one at every call.

    Args:
        photos: All photos of the data set.
        row: The photo; with the view it seeds all that is random, so that the rows of one photo differ.
        view: 0 is the whole photo; of the others every third is a mixture of a random crop with one of another
            photo, and the rest are random crops. Half of all crops are mirrored.
        config: Smallest crop and seed.

    Returns:
        Shape (224, 224, 3), uint8.

    Source:
        Mixtures: Zhang et al. 2017 (arXiv:1710.09412), with a share drawn evenly from [0, 1] and no labels mixed: the
        teacher sees the mixture itself, as in Beyer et al. 2021 (arXiv:2106.05237).
    """
    if view == 0:
        return photos[row]
    random = np.random.default_rng((config.seed, row, view))
    crop = _random_crop(photos[row], config.smallest_crop, random)
    if view % MIXED_EVERY != MIXED_EVERY - 1:
        return crop
    other = _random_crop(photos[int(random.integers(len(photos)))], config.smallest_crop, random)
    share = np.float32(random.uniform())
    return np.rint(share * crop + (1 - share) * other).astype(np.uint8)


def _random_crop(photo: Pixels, smallest: float, random: np.random.Generator) -> Pixels:
    """Cuts out a random part and stretches it to the full size; half of the parts are mirrored."""
    left, top, width, height = random_boxes(random, np.array([smallest]))[0].tolist()
    size = (IMAGE_PIXELS, IMAGE_PIXELS)
    crop = Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))
    pixels = np.asarray(crop)
    return pixels[:, ::-1] if random.random() < 0.5 else pixels


def random_boxes(random: np.random.Generator, smallest: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Draws parts of photos, of 3:4 to 4:3 where they fit.

    Args:
        random: Where chance comes from.
        smallest: Least share of the area of each, in (0, 1]. Shape (N,).

    Returns:
        Left, top, width and height of each, in pixels. Shape (N, 4).
    """
    area = random.uniform(smallest, 1.0)
    aspect = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3), len(smallest)))
    width, height = (np.minimum(1.0, np.sqrt(part)) * IMAGE_PIXELS for part in (area * aspect, area / aspect))
    left = random.uniform(0, IMAGE_PIXELS - width)
    top = random.uniform(0, IMAGE_PIXELS - height)
    return np.stack([left, top, width, height], axis=1)


def read_photos(path: Path, paths: Sequence[Path]) -> None:
    """Decodes photos into a `.npy` file of shape (P, 224, 224, 3), uint8.

    Raises:
        DataError: Some cannot be read; the message names the first ten.
    """
    photos = np.lib.format.open_memmap(path, "w+", np.uint8, (len(paths), IMAGE_PIXELS, IMAGE_PIXELS, 3))
    unreadable = []
    for row, photo in enumerate(progress(paths, "reading photos", unit="photo")):
        try:
            photos[row] = read_image(photo.read_bytes()).pixels
        except (OSError, ImageError) as error:
            unreadable.append(f"{photo}: {error}")
    photos.flush()
    if unreadable:
        some = "\n".join(unreadable[:10])
        raise DataError(f"expected photos that can be read, {len(unreadable)} cannot; exclude or remove them:\n{some}")
