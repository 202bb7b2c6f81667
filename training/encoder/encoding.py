"""Encoding photos by a trained encoder as it is, wherever it comes from."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.bundle import WEIGHTS
from model.captioner import Captioner
from training.encoder.sources import encoder_file, load_encoder

Encoding = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""A function from images (B, 224, 224, 3), uint8, to features (B, D)."""


def encoding(path: Path) -> Encoding:
    """Returns what encodes photos by an encoder: for a bundle the engine that serves it, several times as fast.

    Args:
        path: See `training.encoder.sources.encoder_file`.

    Raises:
        BundleError: The bundle is damaged.
        DataError: There is no trained encoder, or its file is damaged.
    """
    if encoder_file(path).name == WEIGHTS:
        return Captioner.load(path).features
    return encoding_of(load_encoder(path).network)


def encoding_of(encoder: keras.Model) -> Encoding:
    """Returns what encodes photos by a network as it is."""
    encode = tf.function(lambda images: encoder(images, training=False)["features"])
    return lambda images: encode(images).numpy()
