"""The teacher of a distillation, ImageNet MobileNetV2 or our own VGG-19, and the projection of its last map."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

import keras
import numpy as np
import numpy.typing as npt

from model.atomic import atomic_file
from model.config import IMAGE_PIXELS
from model.errors import DataError
from training.encoder.sources import encoder_file, load_encoder

LARGEST_DEVIATIONS = 6.0
"""Standard deviations beyond which a projected map is clipped, so that it fits eight bits."""

MAP_SIDE = IMAGE_PIXELS // 32
"""Height and width of the teacher's last feature map."""

Floats = npt.NDArray[np.float32]


def teacher_file(teacher: Path) -> Path:
    """Returns the file that holds a teacher's weights.

    Raises:
        DataError: There is none.
    """
    return teacher if teacher.is_file() else encoder_file(teacher)


def load_teacher(teacher: Path) -> keras.Model:
    """Loads a teacher.

    Args:
        teacher: A Keras `.weights.h5` file for `keras.applications.MobileNetV2`; or a larger VGG-19, as a run directory
            or a bundle.

    Returns:
        A frozen model from images (B, 224, 224, 3) uint8 to `maps` (B, 7, 7, M) and `features` (B, D), both at least 0,
        and `logits` (B, 1000). M and D are 1280 for MobileNetV2, whose features are the mean of its maps.

    Raises:
        DataError: There is no such teacher, or it sees smaller images.

    Source:
        Sandler et al. 2018 (arXiv:1801.04381).
    """
    return _load_mobilenet(teacher) if teacher.is_file() else _load_vgg19(teacher)


def _load_vgg19(run: Path) -> keras.Model:
    encoder, config, _ = load_encoder(run)
    if config.input_pooling > 1:
        raise DataError(
            f"{run}: expected a teacher that sees {IMAGE_PIXELS} pixels, found one that sees "
            f"{IMAGE_PIXELS // config.input_pooling}; give a network of full size"
        )
    encoder.trainable = False
    features = encoder.get_layer("fc2_relu").output
    outputs = {
        "maps": encoder.get_layer("block5_pool").output,
        "features": features,
        "logits": encoder.output["logits"],
    }
    teacher = keras.Model(encoder.input, outputs)
    teacher.classifier_weights = encoder.get_layer("predictions").get_weights()
    return teacher


def _load_mobilenet(weights: Path) -> keras.Model:
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
            1 over the components, so that predicting the mean has a squared error of 1.
        scale: Divisor that turns a projection into a target.
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
