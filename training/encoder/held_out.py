"""Comparison of a student with its teacher on held-out photos."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from training.encoder.views import read_photos

BATCH = 100
MOST_PHOTOS = 500


class Comparison(NamedTuple):
    """The distance of a student from its teacher.

    Attributes:
        feature_loss: Squared error of each feature over its variance, on average; predicting the mean costs 1.
        correlation: Correlation of both networks' values of a feature, averaged over features.
        agreement: Share of photos whose most probable class is the teacher's, in [0, 1].
    """

    feature_loss: float
    correlation: float
    agreement: float


class HeldOut:
    """Photos that the student is not trained on, with the teacher's answers to them.

    Args:
        file: Where the decoded photos are kept.
        paths: The photos; only the first `MOST_PHOTOS` are used.
        teacher: From `load_teacher`.
        variance: Variance of each feature of the teacher's over the training photos. Shape (D,).

    Raises:
        DataError: A photo cannot be read.
    """

    def __init__(
        self, file: Path, paths: Sequence[Path], teacher: keras.Model, variance: npt.NDArray[np.float32]
    ) -> None:
        read_photos(file, paths[:MOST_PHOTOS])
        self._photos = np.load(file, mmap_mode="r")
        self._variance = np.maximum(variance, 1e-3)
        self._features, self._classes = self._answers(teacher)

    def compared(self, student: keras.Model) -> Comparison:
        """Compares a student with the teacher.

        Args:
            student: An encoder with as many features and classes as the teacher.
        """
        features, classes = self._answers(student)
        loss = np.mean(np.square(features - self._features) / self._variance)
        agreement = np.mean(classes == self._classes)
        return Comparison(float(loss), _correlation(features, self._features), float(agreement))

    def _answers(self, network: keras.Model) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        outputs = [network.predict_on_batch(batch) for batch in self._batches()]
        features, logits = (
            np.concatenate([np.asarray(output[name], np.float32) for output in outputs])
            for name in ("features", "logits")
        )
        return features, logits.argmax(axis=-1)

    def _batches(self) -> Iterator[npt.NDArray[np.uint8]]:
        for start in range(0, len(self._photos), BATCH):
            yield self._photos[start : start + BATCH]


def _correlation(one: npt.NDArray[np.float32], two: npt.NDArray[np.float32]) -> float:
    """Returns the mean over features, shape (B, D), of their correlation; a constant feature counts as 0."""
    one = one - one.mean(axis=0)
    two = two - two.mean(axis=0)
    scale = np.sqrt(np.sum(one * one, axis=0) * np.sum(two * two, axis=0))
    return float(np.mean(np.sum(one * two, axis=0) / np.maximum(scale, 1e-9)))
