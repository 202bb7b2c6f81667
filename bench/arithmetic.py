"""Computes the work of an architecture: multiplications for an image, bytes for a word."""

import itertools
import math
from collections.abc import Container

import numpy as np

from model.blocks import BLOCKS
from model.config import IMAGE_PIXELS, CaptionerConfig, EncoderConfig
from model.tensors import Weights, identity_kernel

KERNEL = 3 * 3


def encoder_multiply_adds(config: EncoderConfig, without: Container[str] = ()) -> int:
    """Returns the multiplications, each with its addition, that the encoder's kernels take for one image.

    Args:
        config: The architecture.
        without: Names of convolutions that are not computed, such as `block3_conv4`.
    """
    inputs = 3
    side = IMAGE_PIXELS // config.input_pooling
    total = 0
    for number, (block, width) in enumerate(zip(BLOCKS, config.widths, strict=True), start=1):
        channels = block.scaled(width)
        for convolution in range(1, block.convolutions + 1):
            if f"block{number}_conv{convolution}" not in without:
                total += side * side * KERNEL * inputs * channels
            inputs = channels
        side //= 2
    flat = inputs * side * side if config.pooling == "flatten" else inputs
    units = (flat, config.fc_units, config.fc_units, config.classes)
    return total + sum(a * b for a, b in itertools.pairwise(units))


def decoder_step_bytes(config: CaptionerConfig) -> int:
    """Returns the bytes of int8 kernels that one word reads, the embedding folded through the first input kernel."""
    units = config.decoder.units
    layers = config.decoder.layers
    return 3 * units * units * (2 * layers - 1) + units * config.decoder.vocabulary_size


def milliseconds_at(amount: float, billions_a_second: float) -> float:
    """Returns the milliseconds that an amount takes at a rate in billions per second.

    Raises:
        ValueError: The rate is not above 0.
    """
    if not 0 < billions_a_second < math.inf:
        raise ValueError(f"expected a rate above 0, received {billions_a_second}; measure it again")
    return amount / billions_a_second / 1e6


def identity_convolutions(weights: Weights) -> set[str]:
    """Returns the names of the encoder's convolutions that pass their input on unchanged, which are not computed."""
    found = set()
    for name, kernel in weights.items():
        part = name.split("/")[0]
        layer = name.split("/")[1]
        kind = name.split("/")[-1]
        if part == "encoder" and kind == "kernel" and "_conv" in layer and kernel.shape[2] == kernel.shape[3]:
            bias = weights[f"encoder/{layer}/bias"]
            if not bias.any() and np.array_equal(kernel, identity_kernel(len(bias))):
                found.add(layer)
    return found
