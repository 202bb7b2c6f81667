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

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from training.progress import progress

STEPS = 127
"""Largest int8 value; -128 is not used."""

PATCHES_PER_PHOTO = 80
"""Most places of each photo that a convolution is calibrated on."""

MOST_INPUTS = 8192
"""Inputs of a layer up to which its output is minded: beyond, the products of its inputs take gigabytes."""

DAMPING = 0.01
"""What is added to the diagonal of the inputs' products, relative to its mean."""

_BATCH = 32
_BLOCK = 128

Floats = npt.NDArray[np.float32]


def round_weights(
    encoder: keras.Model, photos: npt.NDArray[np.uint8], kept: Sequence[layers.Layer] = (), *, seed: int = 0
) -> None:
    """Replaces the kernels of an encoder by ones that int8 holds exactly, a step for each output channel.

    Args:
        encoder: From `build_encoder`, without batch norm; changed in place.
        photos: What it will be used on, RGB. Shape (P, 224, 224, 3), uint8; a hundred are enough.
        kept: Layers that are left as they are.
        seed: Which places of the photos are taken.
    """
    random = np.random.default_rng(seed)
    weighted = [layer for layer in encoder.layers if isinstance(layer, layers.Conv2D | layers.Dense)]
    for layer in progress([layer for layer in weighted if layer not in kept], "rounding to int8", unit="layer"):
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        matrix = kernel.reshape(-1, kernel.shape[-1])  # (inputs, outputs)
        if len(matrix) <= MOST_INPUTS:
            inputs = np.concatenate(list(_inputs(encoder, layer, photos, random)))  # (rows, inputs)
            layer.kernel.assign(round_matrix(matrix, inputs).reshape(kernel.shape))


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


def _inputs(
    encoder: keras.Model, layer: layers.Layer, photos: npt.NDArray[np.uint8], random: np.random.Generator
) -> Iterator[Floats]:
    """Yields rows (N, I) that the layer's matrix is multiplied with."""
    before = keras.Model(encoder.input, layer.input)
    for begin in range(0, len(photos), _BATCH):
        values = before(photos[begin : begin + _BATCH], training=False)
        yield keras.ops.convert_to_numpy(values) if values.ndim == 2 else _patches(values, random)


def _patches(maps: Any, random: np.random.Generator) -> Floats:
    """Returns 3x3 patches at random places of maps (B, H, W, C), shape (B * PATCHES_PER_PHOTO, 9 * C)."""
    padded = np.pad(keras.ops.convert_to_numpy(maps), ((0, 0), (1, 1), (1, 1), (0, 0)))
    batch, height, width, _ = maps.shape
    count = min(PATCHES_PER_PHOTO, height * width)
    places = [divmod(int(place), width) for place in random.choice(height * width, count, replace=False)]
    return np.concatenate([padded[:, y : y + 3, x : x + 3].reshape(batch, -1) for y, x in places])
