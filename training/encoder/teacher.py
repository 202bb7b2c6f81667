"""The teacher of a distillation: ImageNet MobileNetV2, and the principal components of its last feature map."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

import keras
import numpy as np
import numpy.typing as npt

from model.atomic import atomic_file
from model.config import IMAGE_PIXELS

LARGEST_DEVIATIONS = 6.0
"""Standard deviations beyond which a projected map is clipped, so that it fits eight bits."""

MAP_SIDE = IMAGE_PIXELS // 32
"""Height and width of the teacher's last feature map."""

Floats = npt.NDArray[np.float32]


def load_teacher(weights: Path) -> keras.Model:
    """Builds ImageNet MobileNetV2 and loads its weights.

    Args:
        weights: A Keras `.weights.h5` file for `keras.applications.MobileNetV2`.

    Returns:
        A frozen model from images (B, 224, 224, 3) uint8 to `maps` (B, 7, 7, 1280), `features` (B, 1280), their mean
        over positions, both at least 0, and `logits` (B, 1000).

    Source:
        Sandler et al. 2018 (arXiv:1801.04381).
    """
    network = keras.applications.MobileNetV2(weights=None, classifier_activation=None)
    network.load_weights(weights)
    network.trainable = False
    images = keras.Input((IMAGE_PIXELS, IMAGE_PIXELS, 3), dtype="uint8")
    last, average, classifier = network.layers[-3:]
    outputs = {"maps": last.output, "features": average.output, "logits": classifier.output}
    inner = keras.Model(network.input, outputs)
    teacher = keras.Model(images, inner(keras.layers.Rescaling(1 / 127.5, offset=-1.0)(images)))
    teacher.classifier_weights = classifier.get_weights()
    return teacher


class Projection(NamedTuple):
    """The projection of feature maps onto their first principal components, in 8-bit codes.

    Attributes:
        mean: Mean of each channel. Shape (C,), float32.
        components: Principal directions, the strongest first. Shape (C, M), float32.
        steps: Value of one code of each component in a target. Shape (M,), float32. Targets have a mean variance of
            1 over the components, so that a squared error of 1 is as good as predicting the mean.
        scale: What a projection is divided by to be a target.
    """

    mean: Floats
    components: Floats
    steps: Floats
    scale: Floats

    @classmethod
    def fitted(cls, batches: Iterable[Floats], components: int) -> Self:
        """Finds the principal components of feature maps.

        Args:
            batches: Feature maps. Shape (B, H, W, C), float32.
            components: Number M of components kept, at most C.

        Returns:
            The projection.
        """
        count = 0
        total = np.zeros(1)
        moments = np.zeros((1, 1))
        for batch in batches:
            rows = batch.reshape(-1, batch.shape[-1])  # (B H W, C)
            count += len(rows)
            total = total + rows.sum(axis=0, dtype=np.float64)
            moments = moments + rows.T @ rows
        mean = total / count
        variances, directions = np.linalg.eigh(moments / count - np.outer(mean, mean))  # in rising order
        kept = np.maximum(variances[::-1][:components], 1e-12)
        scale = np.sqrt(kept.mean())
        steps = LARGEST_DEVIATIONS * np.sqrt(kept) / scale / 127
        values = (mean, directions[:, ::-1][:, :components], steps, scale)
        return cls(*(np.asarray(value, np.float32) for value in values))

    def codes(self, maps: Floats) -> npt.NDArray[np.int8]:
        """Projects maps, shape (B, H, W, C), to codes, shape (B, H, W, M)."""
        targets = ((maps - self.mean) @ self.components) / self.scale
        return np.clip(np.rint(targets / self.steps), -127, 127).astype(np.int8)

    def targets(self, codes: npt.NDArray[np.int8]) -> Floats:
        """Returns the targets that codes stand for, shape (B, H, W, M), float32."""
        return codes * self.steps

    def save(self, path: Path) -> None:
        """Writes the projection atomically, as a `.npz` file."""
        with atomic_file(path) as file, file.open("wb") as stream:
            np.savez(stream, **self._asdict())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote."""
        with np.load(path) as stored:
            return cls(*(stored[name] for name in cls._fields))
