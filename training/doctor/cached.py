"""The features that training has kept beside its records."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from model.search import Floats
from training.decoder.features import FEATURES, FeatureSet, input_key, key_prefix, read_features
from training.doctor.evidence import Neighbours, Photo, Trained
from training.doctor.verdicts import LackingError

LARGEST_BYTES = 1_500_000_000
"""Largest file of features that is read."""

_GIVE = "train a decoder on these records (`showtell-train captioner`), which keeps features, or give that run"


def feature_files(records: Path, split: str, encoder: Path | None) -> Iterator[Path]:
    """Yields the files of features of a split, the newest first: an encoder's, or all where none is given."""
    prefix = "*" if encoder is None else key_prefix(input_key(encoder, records))
    files = (records / FEATURES).glob(f"{prefix}-{split}*.npz")
    small = (file for file in files if file.stat().st_size <= LARGEST_BYTES)
    yield from sorted(small, key=lambda file: file.stat().st_mtime_ns, reverse=True)


def trained_features(records: Path, encoder: Path | None, photos: Sequence[Photo]) -> Iterator[Trained]:
    """Yields the kept features of photos of dev, one of each file that has them all."""
    for file in feature_files(records, "dev", encoder):
        found = read_features(file)
        places = _places(found, [photo.name for photo in photos])
        if places:
            yield Trained(found.features[places, 0], None, f"kept beside the records, {file.name}")


def neighbours(records: Path, encoder: Path | None, photos: Sequence[Photo]) -> Neighbours:
    """Returns features of photos of dev, and of all training photos.

    Raises:
        LackingError: None are kept.
    """
    for file in feature_files(records, "dev", encoder):
        train = file.with_name(file.name.replace("-dev", "-train", 1))
        if not train.is_file() or train.stat().st_size > LARGEST_BYTES:
            continue
        dev = read_features(file)
        names = [photo.name for photo in photos]
        places = _places(dev, names)
        if places:
            return Neighbours(names, dev.features[places, 0], read_features(train).features[:, 0])
    raise LackingError("no features of train and dev are kept beside the records", _GIVE)


def _places(found: FeatureSet, names: Sequence[str]) -> list[int]:
    """Returns the rows of photos; none where one of them is not there."""
    rows = {name: row for row, name in enumerate(found.names)}
    return [rows[name] for name in names] if all(name in rows for name in names) else []


def nearest(candidates: Iterator[Trained], features: Floats) -> Trained | None:
    """Returns those of several encoders' features that are nearest to given ones of the same photos."""
    fitting = [found for found in candidates if found.features.shape == features.shape]
    return min(fitting, key=lambda found: float(np.abs(found.features - features).mean()), default=None)
