"""Cached maps: the output of the frozen part of a full-size encoder, from which later stages start."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from training.data.photo_cache import VIEWS, PhotoCache, View, fill
from training.encoder.growing import is_identity
from training.encoder.winograd import TILE, winograd_convolution

FROZEN = "block4_pool"
"""Last layer of the frozen part; its output is cached."""

MAPS = "maps"

_WINOGRAD_CHANNELS = 128
"""Input channels from which Winograd's convolution is faster than the direct one."""


def cache_maps(directory: Path, encoder: keras.Model, paths: Sequence[Path], views: Sequence[View] = VIEWS) -> bool:
    """Computes the maps of photos where they are missing, 200 kB a view at full size.

    Args:
        directory: Where they go; see `training.data.photo_cache.fill`.
        encoder: From `build_encoder`, without batch norm; only the layers up to `FROZEN` run.
        paths: Photos.
        views: Which views.

    Returns:
        Whether all are there; False after a requested stop.

    Raises:
        DataError: A photo cannot be read, or the directory holds the maps of another encoder.
    """
    shapes = {MAPS: tuple(encoder.get_layer(FROZEN).output.shape[1:])}
    run = frozen_part(encoder)
    return fill(directory, frozen_key(encoder), shapes, lambda images: {MAPS: run(images)}, paths, views)


def open_maps(directory: Path, encoder: keras.Model) -> PhotoCache:
    """Opens the maps of an encoder.

    Raises:
        DataError: There are none, or they are of an encoder with other first blocks.
    """
    return PhotoCache(directory, frozen_key(encoder))


def frozen_key(encoder: keras.Model) -> str:
    """Returns a hash of the weights up to `FROZEN`: maps of equal ones are equal."""
    digest = hashlib.sha256()
    for layer in _frozen_layers(encoder):
        for value in layer.weights:
            digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(value), np.float32).data)
    return digest.hexdigest()


def frozen_part(encoder: keras.Model) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
    """Builds a function that runs the layers up to `FROZEN` in float32.

    Convolutions that are identities are left out, which changes nothing behind a ReLU.

    Args:
        encoder: From `build_encoder`, without batch norm and residual branches.

    Returns:
        A function from images (B, 224, 224, 3), uint8, to maps (B, H, W, C).
    """
    steps: list[Callable[[Any], Any]] = []
    for layer in _frozen_layers(encoder):
        if not isinstance(layer, keras.layers.Conv2D):
            steps.append(layer)
        elif not is_identity(layer):
            kernel, bias = (keras.ops.convert_to_numpy(value) for value in layer.weights)
            wide = kernel.shape[2] >= _WINOGRAD_CHANNELS and layer.output.shape[1] % TILE == 0
            steps.append(winograd_convolution(kernel, bias) if wide else layer)

    @tf.function  # type: ignore[untyped-decorator]
    def run(images: tf.Tensor) -> tf.Tensor:
        values = images
        for step in steps:
            values = step(values)
        return values

    return lambda images: np.asarray(run(tf.constant(images)))


def top_part(encoder: keras.Model) -> keras.Model:
    """Returns the layers behind `FROZEN`: from maps (B, H, W, C) to the encoder's outputs, with its own weights.

    A third output, `taught` (B, F), is the second FC layer's, whatever the decoder reads.
    """
    outputs = dict(encoder.output) | {"taught": encoder.get_layer("fc2_relu").output}
    return keras.Model(encoder.get_layer(FROZEN).output, outputs, name="top")


def _frozen_layers(encoder: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields the layers behind the input up to `FROZEN`, a chain."""
    for layer in encoder.layers[1:]:
        yield layer
        if layer.name == FROZEN:
            return
