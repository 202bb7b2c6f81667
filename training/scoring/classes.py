"""Top-1 and top-5 accuracy of a bundle on labelled photos."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from model.captioner import Captioner
from model.errors import DataError, ImageError
from model.image import read_image
from training.data.captioned import find_photos
from training.progress import progress

BATCH = 16


class Recognition(NamedTuple):
    """Accuracies over photos, in percent, among all classes of the bundle.

    Attributes:
        photos: Number of photos.
        top_1: Share whose most probable class is the right one.
        top_5: Share with the right one among the five most probable.
    """

    photos: int
    top_1: float
    top_5: float


def recognize(captioner: Captioner, folder: Path) -> Recognition:
    """Classifies photos that lie in a folder for each class, named by the class's id.

    Args:
        captioner: What to score.
        folder: Holds `<class id>/<photo>`, for example `n01440764/photo.jpg`.

    Returns:
        The accuracies.

    Raises:
        DataError: There is no photo, a folder is no class of the bundle, or a photo cannot be read.
    """
    photos = find_photos([folder])
    known = {name.id for name in captioner.classes}
    strange = sorted({photo.parent.name for photo in photos} - known)
    if strange:
        raise DataError(f"{folder}: expected folders named by class ids such as {min(known)}, found {strange[0]}")
    ranks = []
    chunks = [photos[start : start + BATCH] for start in range(0, len(photos), BATCH)]
    for chunk in progress(chunks, "recognizing", unit="batch"):
        try:
            images = np.stack([read_image(photo.read_bytes()).pixels for photo in chunk])
        except (OSError, ImageError) as error:
            raise DataError(f"{folder}: expected photos, one cannot be read: {error}; remove it") from error
        for photo, prediction in zip(chunk, captioner.predict(images, beam_size=1, classes=5), strict=True):
            ids = [found.id for found in prediction.classes]
            ranks.append(ids.index(photo.parent.name) if photo.parent.name in ids else len(ids))
    found = np.array(ranks)
    return Recognition(len(ranks), float(100 * np.mean(found == 0)), float(100 * np.mean(found < 5)))
