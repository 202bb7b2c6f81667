"""Cached maps: the output of the frozen part of a full-size encoder, from which later stages start."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from training.data.photo_cache import VIEWS, PhotoCache, View, fill
from training.encoder.folding import is_identity
from training.encoder.winograd import winograd_convolution

FROZEN = "block4_pool"
"""Last layer of the frozen part; its output is cached."""

LAST = "block5_pool"
"""Layer whose output all features are computed from."""

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
        DataError: There are none, or they come from an encoder with other first blocks.
    """
    return PhotoCache(directory, frozen_key(encoder))


def frozen_key(encoder: keras.Model) -> str:
    """Returns a hash of the weights up to `FROZEN`. Encoders with equal hashes have equal maps."""
    digest = hashlib.sha256()
    for layer in _chain(encoder, encoder.layers[0].name, FROZEN):
        for value in layer.weights:
            digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(value), np.float32).data)
    return digest.hexdigest()


def frozen_part(encoder: keras.Model) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
    """Builds a function that runs the layers up to `FROZEN`, from images (B, 224, 224, 3), uint8; see `run_layers`."""
    return run_layers(encoder, encoder.layers[0].name, FROZEN)


def run_layers(encoder: keras.Model, begin: str, end: str) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]:
    """Builds a function that runs a chain of layers in the layers' own precision, faster than the network itself.

    Identity convolutions are left out, which changes nothing behind a ReLU. Wide convolutions use Winograd's algorithm
    in float32.

    Args:
        encoder: From `build_encoder`, without batch norm and residual branches.
        begin: Name of the layer whose output the chain reads.
        end: Name of the chain's last layer.

    Returns:
        A function from outputs of `begin` (B, ...) to those of `end` (B, ...).
    """
    steps: list[Callable[[Any], Any]] = []
    for layer in _chain(encoder, begin, end):
        if not isinstance(layer, keras.layers.Conv2D):
            steps.append(layer)
        elif not is_identity(layer):
            steps.append(_fastest(layer) if layer.input.shape[-1] >= _WINOGRAD_CHANNELS else layer)

    @tf.function  # type: ignore[untyped-decorator]
    def run(inputs: tf.Tensor) -> tf.Tensor:
        values = inputs
        for step in steps:
            values = step(values)
        return tf.cast(values, tf.float32)

    return lambda inputs: np.asarray(run(tf.constant(inputs)))


def layer_before(encoder: keras.Model, name: str) -> str:
    """Returns the name of the layer whose output a layer reads."""
    return str(encoder.get_layer(name).input._keras_history.operation.name)


def top_part(encoder: keras.Model) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Builds a function that runs the layers behind `FROZEN` with the encoder's own variables, for training.

    Args:
        encoder: From `build_encoder`, without batch norm and residual branches.

    Returns:
        A function from maps (B, H, W, C) to the encoder's outputs, and `taught` (B, F), the second FC layer's, whatever
        the decoder reads.
    """
    last_block = [
        _fastest(layer) if isinstance(layer, keras.layers.Conv2D) else layer for layer in _chain(encoder, FROZEN, LAST)
    ]
    outputs = dict(encoder.output) | {"taught": encoder.get_layer("fc2_relu").output}
    head = keras.Model(encoder.get_layer(LAST).output, outputs, name="head")

    def run(maps: tf.Tensor) -> dict[str, tf.Tensor]:
        values = maps
        for step in last_block:
            values = step(values)
        return {name: tf.cast(value, tf.float32) for name, value in head(values, training=False).items()}

    return run


def _fastest(layer: keras.layers.Conv2D) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the faster way to run a wide convolution: in other precisions than float32 the layer itself."""
    if layer.compute_dtype != "float32":
        return layer  # type: ignore[no-any-return]
    return lambda maps: winograd_convolution(maps, layer.kernel.value, layer.bias.value)


def _chain(encoder: keras.Model, begin: str, end: str) -> list[keras.layers.Layer]:
    """Returns the layers behind `begin` up to `end`, each of which reads the one before it."""
    names = [end]
    while names[-1] != begin:
        names.append(layer_before(encoder, names[-1]))
    return [encoder.get_layer(name) for name in reversed(names[:-1])]
