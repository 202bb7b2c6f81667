"""Separates batch norm and identity branches from an encoder's kernels again."""

from collections.abc import Collection, Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from model.tensors import identity_kernel

BATCH = 32


def unfold(encoder: keras.Model, weights: Mapping[str, npt.NDArray[Any]], images: npt.NDArray[np.uint8]) -> None:
    """Sets the weights of a network with batch norm so that its outputs are those of a plain one.

    It is the inverse of `model.encoder.fold`.

    Args:
        encoder: From `build_encoder`, with or without batch norm and residual branches; its weights are replaced.
        weights: Of the plain network, by `layer/kernel` and `layer/bias`.
        images: Batch norm takes its statistics from these. Shape (N, 224, 224, 3), uint8.

    Source:
        Many weights with batch norm fold into the same plain ones. Here every filter gets the norm of He's
        initialisation, the square root of 2 (arXiv:1502.01852, eq. 10), so that it learns as fast as a new one.
    """
    names = {layer.name for layer in encoder.layers}
    biases = {}
    scales = {}
    for layer in encoder.layers:
        if not isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            continue
        kernel, bias = (np.asarray(weights[f"{layer.name}/{part}"], np.float32) for part in ("kernel", "bias"))
        if f"{layer.name}_add" in names:
            kernel = kernel.copy()
            kernel[1, 1] -= np.eye(kernel.shape[-1], dtype=np.float32)
        if f"{layer.name}_bn" in names:
            norms = np.sqrt(np.square(kernel).sum(axis=tuple(range(kernel.ndim - 1))))
            scales[layer.name] = np.sqrt(2.0) / np.maximum(norms, 1e-6)
            biases[layer.name] = bias
            kernel = kernel * scales[layer.name]
            bias = np.zeros_like(bias)
            norm = encoder.get_layer(f"{layer.name}_bn")
            # Until the statistics are known, the norm undoes the scale: later layers see the plain network's outputs.
            ones = np.ones_like(bias)
            norm.set_weights([1 / scales[layer.name], biases[layer.name], 0 * ones, ones - norm.epsilon])
        layer.set_weights([kernel, bias])
    for name, (mean, variance) in _statistics(encoder, list(scales), images).items():
        norm = encoder.get_layer(f"{name}_bn")
        scale = scales[name]
        gamma = np.sqrt(variance + norm.epsilon) / scale
        beta = biases[name] + mean / scale
        norm.set_weights([gamma, beta, mean, variance])


def _statistics(
    encoder: keras.Model, names: list[str], images: npt.NDArray[np.uint8]
) -> dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Returns mean and variance of each channel of the outputs of layers."""
    if not names:
        return {}
    watched = keras.Model(encoder.input, {name: encoder.get_layer(name).output for name in names})
    sums: dict[str, Any] = dict.fromkeys(names, 0)
    squares: dict[str, Any] = dict.fromkeys(names, 0)
    counts = dict.fromkeys(names, 0)
    for start in range(0, len(images), BATCH):
        for name, output in watched.predict_on_batch(images[start : start + BATCH]).items():
            rows = np.asarray(output, np.float32).reshape(-1, output.shape[-1]).astype(np.float64)  # (B H W, C)
            sums[name] = sums[name] + rows.sum(axis=0)
            squares[name] = squares[name] + np.square(rows).sum(axis=0)
            counts[name] += len(rows)
    means = {name: sums[name] / counts[name] for name in names}
    return {name: (means[name], np.maximum(squares[name] / counts[name] - means[name] ** 2, 0)) for name in names}


def is_identity(layer: keras.layers.Conv2D) -> bool:
    """Returns whether a 3x3 convolution gives its input."""
    kernel, bias = (keras.ops.convert_to_numpy(value) for value in layer.weights)
    return kernel.shape[2] == kernel.shape[3] and not bias.any() and np.array_equal(kernel, identity_kernel(len(bias)))


def gains_by_branch(kernel: Any) -> bool:
    """Returns whether int8 changes a kernel less if its identity is computed as a separate branch.

    The ones of an identity are by far the largest weights of their channels. With them inside, the int8 steps are too
    coarse for all other weights: in a residual network the features would be off by 9 % instead of 1 %.

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
    """Returns a network of equal outputs that computes some convolutions as the sum of an identity and a residual.

    Args:
        encoder: From `build_encoder`, without batch norm and residual branches; it is not changed.
        names: The convolutions. A pure identity is not computed at all: its layer has no weights.

    Returns:
        A copy with equal names of layers.
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
