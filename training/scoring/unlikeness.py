"""How well a bundle can tell photos unlike those that it was trained on, and the Gaussian by which it does."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.captioner import Captioner
from model.errors import ImageError
from model.familiarity import Familiarity
from model.image import read_image
from training.data.captioned import find_photos
from training.data.pipeline import split_batches
from training.data.records import read_index
from training.data.shards import count_records

NOISE = 100
"""Pictures of each kind of noise."""

_BATCH = 16

Floats = npt.NDArray[np.float32]
Images = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Told:
    """How well pictures of one kind are told from the photos of a split.

    Attributes:
        photos: How many were measured.
        auroc: Probability that one of them is farther than a photo of the split; one half is chance.
        above: Share of them that is above the limit.
    """

    photos: int
    auroc: float
    above: float


def measure_unlikeness(
    captioner: Captioner, records: Path, split: str, most: int, others: Mapping[str, Path]
) -> tuple[Familiarity, dict[str, Told]]:
    """Fits a Gaussian to photos of training, and measures what it tells.

    Args:
        captioner: Of the bundle; its engine computes the features.
        records: Finished records.
        split: The photos that the limit is fitted on, `dev` or `test`.
        most: Most photos of each folder, and of train; those of train are spread evenly.
        others: Folders of pictures of other kinds, by their names.

    Returns:
        The Gaussian, and how well it tells noise and the others from the split.

    Raises:
        DataError: Records or photos are missing.
    """
    known = _features_of(captioner, _spread(records, "train", most))
    held_out = _features_of(captioner, _spread(records, split, most))
    found = Familiarity.fit(known, held_out)
    near = found.unlikeness(held_out)
    told = {split: Told(len(near), 0.5, float((near > 1).mean()))}
    for name, images in {**_noise(), **{name: _photos(path, most) for name, path in others.items()}}.items():
        far = found.unlikeness(_features_of(captioner, images))
        told[name] = Told(len(far), auroc(near, far), float((far > 1).mean()))
    return found, told


def auroc(low: Floats, high: Floats) -> float:
    """Returns the area under the receiver operating characteristic.

    Args:
        low: Scores that should be low. Shape (N,).
        high: Scores that should be high. Shape (M,).

    Returns:
        The probability that one of `high` is above one of `low`, ties counted by half.
    """
    ordered = np.sort(low)
    below = np.searchsorted(ordered, high, "left") + np.searchsorted(ordered, high, "right")
    return float(below.mean() / (2 * len(low)))


def _features_of(captioner: Captioner, images: Iterable[Images]) -> Floats:
    return np.concatenate([captioner.features(batch) for batch in images])


def _spread(records: Path, split: str, most: int) -> Iterator[Images]:
    """Yields every so many-th batch of a split, about `most` photos in all."""
    step = max(1, count_records(read_index(records), split) // most)
    for index, batch in enumerate(split_batches(records, split, _BATCH, split)):
        if index % step == 0:
            yield batch.images.numpy()


def _noise() -> dict[str, Iterator[Images]]:
    """Returns pictures of random pixels, and of random squares of 32 pixels."""
    random = np.random.default_rng(0)
    pixels = (random.integers(0, 256, (1, 224, 224, 3), np.uint8) for _ in range(NOISE))
    squares = (random.integers(0, 256, (1, 7, 7, 3), np.uint8).repeat(32, 1).repeat(32, 2) for _ in range(NOISE))
    return {"noise": pixels, "squares": squares}


def _photos(folder: Path, most: int) -> Iterator[Images]:
    """Yields pictures of a folder, spread evenly over their sorted paths; what cannot be read is left out."""
    paths: list[Any] = sorted(find_photos([folder]))
    for path in paths[:: max(1, len(paths) // most)][:most]:
        try:
            yield read_image(Path(path).read_bytes()).pixels[None]
        except (ImageError, OSError):
            continue
