"""Rounds an encoder's weights to int8 so that the layers' outputs change least, not the weights themselves.

Rounding every weight to its nearest step moves the features of the default bundle by 1.2 %, which is enough to change
the words of one caption in ten; rounded like this they move by 0.3 %.

Source:
    GPTQ (Frantar et al. 2022, arXiv:2210.17323), itself optimal brain surgeon (Hassibi & Stork 1993) one weight at a
    time: what rounding a weight adds to the output is taken back by the weights not yet rounded. Deviations: inputs in
    falling order of their energy (`act-order`), convolutions as products with their 3x3 patches, layer after layer
    with the inputs that the rounded layers before it give, and the largest weight of each output stays as it is, so
    that a converter that takes its steps from the largest weight finds the same ones.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from model.tensors import STEPS, Int8Kernel
from training.progress import progress

PATCHES_PER_PHOTO = 80
"""Most places of each photo that a convolution is calibrated on."""

MOST_INPUTS = 8192
"""Inputs of a layer up to which its output is minded: beyond, the products of its inputs take gigabytes."""

DAMPING = 0.01
"""What is added to the diagonal of the inputs' products, relative to its mean."""

_MOST = float(np.finfo(np.float16).max)
_BATCH = 8
_BLOCK = 128

Floats = npt.NDArray[np.float32]


def round_weights(
    encoder: keras.Model, photos: npt.NDArray[np.uint8] | None, kept: Sequence[layers.Layer] = (), *, seed: int = 0
) -> dict[str, Int8Kernel]:
    """Replaces the kernels of an encoder by ones that int8 holds exactly, a step for each output channel.

    Args:
        encoder: From `build_encoder`, without batch norm; changed in place.
        photos: What it will be used on, RGB. Shape (P, 224, 224, 3), uint8; a hundred are enough. None for rounding
            each weight to its nearest step.
        kept: Layers that are left as they are.
        seed: Which places of the photos are taken.

    Returns:
        Each rounded kernel by its layer's name.
    """
    random = np.random.default_rng(seed)
    weighted = [layer for layer in encoder.layers if isinstance(layer, layers.Conv2D | layers.Dense)]
    values: npt.NDArray[Any] | None = photos
    before = encoder.input
    rounded: dict[str, Int8Kernel] = {}
    for layer in progress(weighted, "rounding to int8", unit="layer"):
        if values is not None:
            values = _run(keras.Model(before, layer.input), values)
            before = layer.input
        if layer in kept:
            continue
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        matrix = kernel.reshape(-1, kernel.shape[-1])  # (inputs, outputs)
        if values is not None and len(matrix) <= MOST_INPUTS:
            inputs = values.astype(np.float32) if values.ndim == 2 else _patches(values, random)  # (rows, inputs)
            kernel = round_matrix(matrix, inputs).reshape(kernel.shape)
        rounded[layer.name] = Int8Kernel.nearest(kernel)
        layer.kernel.assign(rounded[layer.name].rounded)
    return rounded


def round_matrix(matrix: Floats, inputs: Floats) -> Floats:
    """Rounds a matrix so that `inputs @ matrix` changes little.

    Args:
        matrix: Weights. Shape (I, O), float32.
        inputs: What they are multiplied with. Shape (N, I), float32.

    Returns:
        Shape (I, O), float32: whole multiples of `abs(matrix).max(axis=0) / 127`, from -127 to 127 of them; the largest
        weight of each column as it was.
    """
    products = inputs.T.astype(np.float64) @ inputs / len(inputs)  # (I, I)
    diagonal = np.diag_indices(len(matrix))
    products[diagonal] += DAMPING * products[diagonal].mean() + 1e-12
    order = np.argsort(-products[diagonal], kind="stable")
    spread = np.linalg.cholesky(np.linalg.inv(products[np.ix_(order, order)])).T  # upper triangle
    rest = matrix[order].astype(np.float64)
    largest = np.abs(rest).argmax(axis=0)
    step = np.maximum(np.abs(rest).max(axis=0), np.finfo(np.float32).tiny) / STEPS  # (O,)
    whole = np.empty_like(rest)
    for begin in range(0, len(rest), _BLOCK):
        end = min(begin + _BLOCK, len(rest))
        errors = np.empty((end - begin, rest.shape[1]))
        for row in range(begin, end):
            whole[row] = np.clip(np.round(rest[row] / step), -STEPS, STEPS)
            whole[row] = np.where(largest == row, np.sign(rest[row]) * STEPS, whole[row])
            errors[row - begin] = (rest[row] - whole[row] * step) / spread[row, row]
            rest[row + 1 : end] -= np.outer(spread[row, row + 1 : end], errors[row - begin])
        rest[end:] -= spread[begin:end, end:].T @ errors
    rounded = np.empty_like(matrix)
    rounded[order] = whole * step
    return rounded


def _run(part: keras.Model, values: npt.NDArray[Any]) -> npt.NDArray[np.float16]:
    """Returns what a part of the network makes of values (P, ...), in batches, as float16: at full size gigabytes."""
    outputs = np.empty((len(values), *part.output.shape[1:]), np.float16)
    for begin in range(0, len(values), _BATCH):
        batch = values[begin : begin + _BATCH]
        answer = part(batch.astype(np.float32) if batch.dtype == np.float16 else batch, training=False)
        outputs[begin : begin + _BATCH] = np.clip(keras.ops.convert_to_numpy(answer), -_MOST, _MOST)
    return outputs


def _patches(maps: npt.NDArray[np.float16], random: np.random.Generator) -> Floats:
    """Returns 3x3 patches at random places of maps (P, H, W, C), shape (P * PATCHES_PER_PHOTO, 9 * C), float32.

    Every batch of photos has its own places.
    """
    parts = []
    for begin in range(0, len(maps), _BATCH):
        batch = np.pad(maps[begin : begin + _BATCH], ((0, 0), (1, 1), (1, 1), (0, 0)))
        height, width = maps.shape[1:3]
        chosen = random.choice(height * width, min(PATCHES_PER_PHOTO, height * width), replace=False)
        places = [divmod(int(place), width) for place in chosen]
        parts += [batch[:, y : y + 3, x : x + 3].reshape(len(batch), -1).astype(np.float32) for y, x in places]
    return np.concatenate(parts)
