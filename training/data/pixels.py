"""Image files to pixels, and their augmentation, inside `tf.data`."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.config import IMAGE_PIXELS
from model.image import read_image
from training.config import PipelineConfig


def decode_images(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes image files (B,) as the server does: (B, 224, 224, 3) uint8."""
    images = tf.numpy_function(_decode_all, [encoded], tf.uint8, stateful=False)
    images.set_shape((None, IMAGE_PIXELS, IMAGE_PIXELS, 3))
    return images


def _decode_all(encoded: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    images = np.empty((len(encoded), IMAGE_PIXELS, IMAGE_PIXELS, 3), np.uint8)
    for index, data in enumerate(encoded):
        images[index] = read_image(data).pixels
    return images


def decode_in_graph(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes image files (B,) by TensorFlow alone, for machines that run no Python: (B, 224, 224, 3) uint8.

    The result is within a few levels of that of `decode_images`, since JPEG is decoded by another inverse transform.
    EXIF orientation and transparency are ignored.
    """

    def one(data: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(data, channels=3, expand_animations=False)
        size = (IMAGE_PIXELS, IMAGE_PIXELS)
        resized = tf.image.resize(tf.ensure_shape(image, (None, None, 3)), size, antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)

    return tf.map_fn(one, encoded, fn_output_signature=tf.TensorSpec((IMAGE_PIXELS, IMAGE_PIXELS, 3), tf.uint8))


def augment(images: tf.Tensor, numbers: tf.Tensor, config: PipelineConfig) -> tf.Tensor:
    """Crops and mirrors images by given random numbers.

    Args:
        images: Shape (B, 224, 224, 3), uint8.
        numbers: In [0, 1): area, aspect, top, left, mirrored. Shape (B, 5), float32.
        config: Whether to mirror, and the least share of the area in a crop.

    Returns:
        Shape (B, 224, 224, 3), uint8; crops, with an aspect of 3/4 to 4/3, are stretched to the whole.
    """
    if config.smallest_crop == 1 and not config.flip:
        return images
    boxes = _crops(numbers, config.smallest_crop)
    if config.flip:
        # A box from right to left mirrors in the same pass: TensorFlow takes three times as long to reverse an axis.
        mirrored = numbers[:, 4, None] < 0.5
        boxes = tf.where(mirrored, tf.gather(boxes, [0, 3, 2, 1], axis=1), boxes)
    rows = tf.range(tf.shape(images)[0])
    return tf.cast(tf.round(tf.image.crop_and_resize(images, boxes, rows, (IMAGE_PIXELS, IMAGE_PIXELS))), tf.uint8)


def _crops(numbers: tf.Tensor, smallest: float) -> tf.Tensor:
    """Returns top, left, bottom and right of random crops, (B, 4), in [0, 1]."""
    if smallest == 1:
        return tf.tile([[0.0, 0.0, 1.0, 1.0]], (tf.shape(numbers)[0], 1))
    area = smallest + (1 - smallest) * numbers[:, 0]
    aspect = tf.exp((2 * numbers[:, 1] - 1) * math.log(4 / 3))
    height = tf.minimum(1.0, tf.sqrt(area / aspect))
    width = tf.minimum(1.0, tf.sqrt(area * aspect))
    top = (1 - height) * numbers[:, 2]
    left = (1 - width) * numbers[:, 3]
    return tf.stack([top, left, top + height, left + width], axis=1)
