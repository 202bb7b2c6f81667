"""A full-size encoder grown from ImageNet VGG-16's convolutions, as a run directory that later stages start from."""

from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np

from model.config import EncoderConfig
from model.encoder import build_encoder
from training.encoder.imagenet import grow_imagenet, identity_kernel
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


def without_identities(encoder: keras.Model) -> keras.Model:
    """Returns a network of the same outputs that does not compute convolutions that are identities.

    Args:
        encoder: From `build_encoder`, without batch norm and residual branches; it stays as it is.

    Returns:
        A copy, its layers called the same; an identity is an activation without weights, which passes values on.
    """

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.layers.Conv2D) and is_identity(layer):
            return keras.layers.Activation("linear", name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    network = keras.models.clone_model(encoder, clone_function=copy)
    for layer in network.layers:
        if layer.weights:
            layer.set_weights(encoder.get_layer(layer.name).get_weights())
    return network
