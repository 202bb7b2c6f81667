"""Computes the work of an architecture: multiplications for an image, bytes for a word."""

import itertools
import math

from model.config import BLOCKS, IMAGE_PIXELS, CaptionerConfig, EncoderConfig

KERNEL = 3 * 3


def encoder_multiply_adds(config: EncoderConfig) -> int:
    """Returns the multiplications, each with its addition, that the encoder's kernels take for one image."""
    inputs, side, total = 3, IMAGE_PIXELS // config.input_pooling, 0
    for block, width in zip(BLOCKS, config.widths, strict=True):
        channels = block.scaled(width)
        for _ in range(block.convolutions):
            total += side * side * KERNEL * inputs * channels
            inputs = channels
        side //= 2
    flat = inputs * side * side if config.pooling == "flatten" else inputs
    units = (flat, config.fc_units, config.fc_units, config.classes)
    return total + sum(a * b for a, b in itertools.pairwise(units))


def decoder_step_bytes(config: CaptionerConfig) -> int:
    """Returns the bytes of int8 kernels that one word reads, the embedding folded through the first input kernel."""
    units, layers = config.decoder.units, config.decoder.layers
    return 3 * units * units * (2 * layers - 1) + units * config.decoder.vocabulary_size


def milliseconds_at(amount: float, billions_a_second: float) -> float:
    """Returns how long an amount takes at a rate in thousands of millions a second.

    Raises:
        ValueError: The rate is not above 0.
    """
    if not 0 < billions_a_second < math.inf:
        raise ValueError(f"expected a rate above 0, received {billions_a_second}; measure it again")
    return amount / billions_a_second / 1e6
