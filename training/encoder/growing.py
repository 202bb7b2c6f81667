"""A full-size encoder grown from ImageNet VGG-16's convolutions, as a run directory that later stages start from."""

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from model.config import EncoderConfig
from model.encoder import build_encoder
from model.tensors import identity_kernel
from training.encoder.imagenet import grow_imagenet
from training.loop.checkpoint import BEST, named_variables, save_checkpoint


def grow(directory: Path, weights: Path, config: EncoderConfig, seed: int) -> None:
    """Writes the grown encoder.

    Args:
        directory: Run directory.
        weights: Keras's file of ImageNet VGG-16.
        config: Architecture; its convolutions must be those of the paper.
        seed: Seed of the fully connected layers, which nothing has taught yet.

    Raises:
        ConfigError: The architecture has other convolutions.
        DataError: The file is damaged or another one, or the disk is full.
    """
    keras.utils.set_random_seed(seed)
    encoder = build_encoder(config)
    grow_imagenet(weights, encoder)
    directory.mkdir(parents=True, exist_ok=True)
    save_checkpoint(directory / BEST, named_variables(encoder, "encoder"), {"encoder": asdict(config)})


def is_identity(layer: keras.layers.Conv2D) -> bool:
    """Returns whether a 3x3 convolution gives its input."""
    kernel, bias = (keras.ops.convert_to_numpy(value) for value in layer.weights)
    return kernel.shape[2] == kernel.shape[3] and not bias.any() and np.array_equal(kernel, identity_kernel(len(bias)))


def gains_by_branch(kernel: Any) -> bool:
    """Returns whether int8 keeps a kernel better where an identity is taken out of it and computed beside it.

    The ones of an identity are the largest weight of their channel by far: with them inside, the steps are too coarse
    for all others. In a residual network the features would be off by 9 % instead of 1 %.

    Args:
        kernel: Any layer's; only a 3x3 convolution of as many inputs as outputs can hold an identity.
    """
    values = keras.ops.convert_to_numpy(kernel)
    if values.ndim != 4 or values.shape[2] != values.shape[3]:
        return False
    apart = values - identity_kernel(values.shape[-1])
    return _rounding_error(apart) < _rounding_error(values)


def _rounding_error(kernel: npt.NDArray[np.float32]) -> float:
    """Returns the mean squared error that int8 makes, up to a factor."""
    return float(np.mean(np.abs(kernel).max(axis=(0, 1, 2)) ** 2))


def with_branches(encoder: keras.Model, names: Collection[str]) -> keras.Model:
    """Returns a network of the same outputs that computes some convolutions as a sum of an identity and the rest.

    Args:
        encoder: From `build_encoder`, without batch norm and residual branches; it stays as it is.
        names: The convolutions. One that is nothing but an identity is not computed at all: its layer has no weights.

    Returns:
        A copy, its layers called the same.
    """

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name in names and is_identity(layer):
            return keras.layers.Activation("linear", name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    def call(layer: keras.layers.Layer, inputs: Any, **options: Any) -> Any:
        outputs = layer(inputs, **options)
        branched = layer.name in names and isinstance(layer, keras.layers.Conv2D)
        return keras.layers.Add(name=f"{layer.name}_add")([outputs, inputs]) if branched else outputs

    network = keras.models.clone_model(encoder, clone_function=copy, call_function=call)
    for layer in network.layers:
        if layer.weights:
            kernel, bias = encoder.get_layer(layer.name).get_weights()
            layer.set_weights([kernel - identity_kernel(len(bias)) if layer.name in names else kernel, bias])
    return network
