"""VGG-19 as a typed table: uint8 images in, features and class logits out. Pure Keras 3, any backend."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers

from model.blocks import BLOCKS
from model.config import IMAGE_PIXELS, EncoderConfig

CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
"""Mean of ImageNet's training images, blue, green, red, in [0, 255]."""


class InputNormalization(layers.Layer):  # type: ignore[misc]
    """A layer that maps uint8 RGB to the values that the first convolution was trained on.

    It is part of the model, so that training and serving cannot differ in it.
    """

    def __init__(self, normalization: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.normalization = normalization

    def get_config(self) -> dict[str, Any]:
        """Returns what a copy is made from; see `keras.layers.Layer.get_config`."""
        return {**super().get_config(), "normalization": self.normalization}

    def call(self, images: Any) -> Any:
        """Normalises images.

        Args:
            images: RGB. Shape (B, H, W, 3), any dtype, in [0, 255].

        Returns:
            Shape (B, H, W, 3), the layer's compute dtype: RGB in [-1, 1] for `unit`, BGR minus the mean for `caffe`.
        """
        values = keras.ops.cast(images, "float32")
        if self.normalization == "unit":
            values = values / 127.5 - 1.0
        else:
            values = keras.ops.flip(values, axis=-1) - keras.ops.convert_to_tensor(CAFFE_MEAN_BGR, "float32")
        return keras.ops.cast(values, self.compute_dtype)


def build_encoder(
    config: EncoderConfig, *, synchronized: bool = False, norm: Callable[..., layers.Layer] = layers.BatchNormalization
) -> keras.Model:
    """Builds an encoder with freshly initialised weights.

    Args:
        config: The architecture.
        synchronized: Whether batch norm takes its statistics over all replicas together (TensorFlow only).
        norm: Makes the layers of batch norm, from the arguments of Keras's.

    Returns:
        A functional Keras model. Input: images, shape (B, 224, 224, 3), uint8 RGB. Output, a dict:
        `features`, shape (B, D), float32, at least 0: what `config.features` names;
        `logits`, shape (B, C), float32: unnormalised class scores.
        Layers have the names of `keras.applications.VGG19`.

    Source:
        Simonyan & Zisserman 2014, table 1, column E (arXiv:1409.1556). `predictions` has no softmax here: the
        engine applies it. Initialisation is He's (arXiv:1502.01852) when batch norm is on, else Glorot's as in Keras.
    """
    make_norm = partial(norm, momentum=0.9, epsilon=1e-3, synchronized=synchronized)
    images = keras.Input((IMAGE_PIXELS, IMAGE_PIXELS, 3), dtype="uint8", name="images")
    values = InputNormalization(config.normalization, name="normalization")(images)
    if config.input_pooling > 1:
        values = layers.AveragePooling2D(config.input_pooling, name="input_pool")(values)
    for block, width in zip(BLOCKS, config.widths, strict=True):
        for index in range(1, block.convolutions + 1):
            channels = block.scaled(width)
            name = f"{block.name}_conv{index}"
            layer = layers.Conv2D(channels, 3, padding="same", kernel_initializer=_initializer(config), name=name)
            values = _with_relu(config, layer, values, make_norm)
        values = layers.MaxPooling2D(2, name=f"{block.name}_pool")(values)
    maps = values
    pool = layers.GlobalAveragePooling2D(name="average_pool") if config.pooling == "average" else layers.Flatten()
    values = pool(values)
    for name in ("fc1", "fc2"):
        layer = layers.Dense(config.fc_units, kernel_initializer=_initializer(config), name=name)
        fc = _with_relu(config, layer, values, make_norm)
        values = layers.Dropout(config.dropout, name=f"{name}_dropout")(fc) if config.dropout > 0 else fc
    logits = layers.Dense(config.classes, name="predictions")(values)
    outputs = {
        "features": layers.Activation("linear", dtype="float32", name="features")(_features(config, maps, fc)),
        "logits": layers.Activation("linear", dtype="float32", name="logits")(logits),
    }
    return keras.Model(images, outputs, name="vgg19")


def _features(config: EncoderConfig, maps: Any, fc: Any) -> Any:
    """Returns what the decoder reads of the last map (B, H, W, C) and the second FC layer (B, F)."""
    parts = []
    if config.features in ("average", "average_max", "average_fc2"):
        parts.append(layers.GlobalAveragePooling2D(name="feature_average")(maps))
    if config.features == "average_max":
        parts.append(layers.GlobalMaxPooling2D(name="feature_max")(maps))
    if config.features == "grid":
        side = maps.shape[1]
        quarters = layers.AveragePooling2D(-(-side // 2), strides=max(1, side // 2), name="feature_grid")(maps)
        parts.append(layers.Flatten(name="feature_quarters")(quarters))
    if config.features in ("fc2", "average_fc2"):
        parts.append(fc)
    return parts[0] if len(parts) == 1 else layers.Concatenate(name="feature_parts")(parts)


def _initializer(config: EncoderConfig) -> str:
    return "he_normal" if config.batch_norm else "glorot_uniform"


def _with_relu(config: EncoderConfig, layer: layers.Layer, inputs: Any, make_norm: Callable[..., Any]) -> Any:
    values = layer(inputs)
    if config.batch_norm:
        values = make_norm(name=f"{layer.name}_bn")(values)
    if config.residual and isinstance(layer, layers.Conv2D) and inputs.shape == values.shape:
        values = layers.Add(name=f"{layer.name}_add")([values, inputs])
    function = config.activation if isinstance(layer, layers.Conv2D) else "relu"
    return layers.Activation(function, name=f"{layer.name}_relu")(values)


def fold(encoder: keras.Model) -> dict[str, np.ndarray]:
    """Returns the weights of the plain network that gives the same outputs at inference.

    Args:
        encoder: A network from `build_encoder`, with or without batch norm and residual branches.

    Returns:
        Weights by `layer/kernel` and `layer/bias`, float32, for a network built with both off.

    Source:
        gamma * (W x + b - mean) / sqrt(variance + epsilon) + beta, multiplied out (Ioffe & Szegedy 2015, sec. 3.1);
        an identity branch is a 3x3 kernel with ones in its centre (RepVGG, Ding et al. 2021, arXiv:2101.03697).
    """
    weights: dict[str, np.ndarray] = {}
    names = {layer.name for layer in encoder.layers}
    for layer in encoder.layers:
        if not isinstance(layer, layers.Conv2D | layers.Dense):
            continue
        kernel, bias = (_to_numpy(value) for value in layer.weights)
        if f"{layer.name}_bn" in names:
            norm = encoder.get_layer(f"{layer.name}_bn")
            scale = _to_numpy(norm.gamma) / np.sqrt(_to_numpy(norm.moving_variance) + norm.epsilon)
            kernel = kernel * scale
            bias = (bias - _to_numpy(norm.moving_mean)) * scale + _to_numpy(norm.beta)
        if f"{layer.name}_add" in names:
            kernel = kernel.copy()
            kernel[1, 1] += np.eye(kernel.shape[-1], dtype=np.float32)
        weights[f"{layer.name}/kernel"] = kernel
        weights[f"{layer.name}/bias"] = bias
    return weights


def _to_numpy(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value), np.float32)
