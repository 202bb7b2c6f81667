"""How far a photo is from those of training: a small Gaussian over the encoder's features. NumPy only.

A bundle that knows has one more file, `familiarity.safetensors`; one that does not, says nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import safetensors
from safetensors.numpy import load_file, save

from model.errors import BundleError

FAMILIARITY = "familiarity.safetensors"
"""Name of the file in a bundle."""

QUANTILE = 0.95
"""Share of the photos that the limit is fitted on which are nearer than the limit."""

LEAST_DEVIATION = 1e-3
"""Deviation of a feature that hardly varies."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Familiarity:
    """A Gaussian with a diagonal covariance over roots of features of unit length, and a limit for distances from it.

    Attributes:
        mean: Shape (D,), float32.
        deviation: Shape (D,), float32, at least `LEAST_DEVIATION`.
        limit: Distance above which a photo is called unlike those of training.

    Source:
        Lee et al. 2018 (arXiv:1807.03888), with one Gaussian for all classes. Deviations: the diagonal of the
        covariance alone; and roots of unit length, as what is unlike has often small features, which lie near the
        mean: without them noise and drawings were nearer than photos.
    """

    mean: Floats
    deviation: Floats
    limit: float

    @classmethod
    def fit(cls, known: Floats, held_out: Floats) -> Self:
        """Fits it.

        Args:
            known: Features of photos that were trained on. Shape (N, D), float32.
            held_out: Features of like photos that were not. Shape (M, D), float32.

        Returns:
            A Gaussian of the known, whose limit `QUANTILE` of the others are within.
        """
        roots = _roots(known)
        deviation = np.maximum(roots.std(axis=0), LEAST_DEVIATION)
        unlimited = cls(roots.mean(axis=0), deviation, 1.0)
        return cls(unlimited.mean, deviation, float(np.quantile(unlimited.unlikeness(held_out), QUANTILE)))

    def unlikeness(self, features: Floats) -> Floats:
        """Returns distances of photos from the mean as shares of the limit.

        Args:
            features: Shape (B, D), float32.

        Returns:
            Root mean square of the deviations, by the limit: above 1 are photos unlike those of training. Shape (B,).
        """
        deviations = (_roots(features) - self.mean) / self.deviation
        distances: Floats = np.sqrt(np.square(deviations).mean(axis=1)) / np.float32(self.limit)
        return distances

    def to_bytes(self) -> bytes:
        """Returns the content of its file."""
        limit = np.array([self.limit], np.float32)
        return save({"mean": self.mean, "deviation": self.deviation, "limit": limit})

    @classmethod
    def read(cls, path: Path, units: int) -> Self:
        """Reads the file of a bundle whose manifest was verified.

        Args:
            path: The file.
            units: Length D of the features.

        Raises:
            BundleError: It holds something else.
        """
        try:
            found = load_file(path)
        except (safetensors.SafetensorError, OSError) as error:
            raise BundleError(f"{path}: expected a safetensors file, received something else ({error})") from error
        expected = {"mean": (units,), "deviation": (units,), "limit": (1,)}
        shapes = {name: value.shape for name, value in found.items() if value.dtype == np.float32}
        if shapes != expected or not all(np.isfinite(value).all() for value in found.values()):
            raise BundleError(f"{path}: expected finite float32 of shapes {expected}, received {shapes}; fit it again")
        if found["deviation"].min() <= 0 or found["limit"][0] <= 0:
            raise BundleError(f"{path}: expected deviations and a limit above 0, received some below; fit it again")
        return cls(found["mean"], found["deviation"], float(found["limit"][0]))


def _roots(features: Floats) -> Floats:
    """Returns roots of unit length; features are those behind a ReLU."""
    roots = np.sqrt(np.maximum(features, 0))
    length = np.linalg.norm(roots, axis=1, keepdims=True)
    unit: Floats = roots / np.maximum(length, np.finfo(np.float32).tiny)
    return unit
