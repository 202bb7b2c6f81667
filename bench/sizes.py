"""The measured captioners: full size and small with random weights, and the default bundle."""

from dataclasses import replace
from typing import Literal

import numpy as np

from model.bundle import DEFAULT_BUNDLE, Bundle, ClassName, load_bundle, weight_shapes
from model.config import CaptionerConfig
from model.presets import paper, small
from model.vocabulary import SPECIAL, Vocabulary

Size = Literal["full size", "default bundle", "small"]
"""`small` shows what everything around the engine costs: in the others the encoder takes nearly all of the time."""

COMPARED: tuple[Size, ...] = ("full size", "default bundle")
"""Sizes at which engines are compared."""

_INPUT_DEVIATION = {"caffe": 70.0, "unit": 0.5}
_BIAS_DEVIATION = 0.05
# Without these the states of stacked GRUs fade, and every word is about as probable as any other.
_GATE_GAIN = 3.0
_SHARPNESS = 3.0


def source(size: Size) -> Bundle:
    """Returns the captioner of a size, without an engine's files."""
    return load_bundle(DEFAULT_BUNDLE) if size == "default bundle" else random_bundle(architecture(size))


def architecture(size: Size) -> CaptionerConfig:
    """Returns the architecture of a size with random weights, under a name of its own, as it is served."""
    if size == "full size":
        return replace(paper(), name="benchmark")
    config = small()
    return replace(
        config,
        name="benchmark-small",
        encoder=replace(config.encoder, batch_norm=False, residual=False),
        decoder=replace(config.decoder, vocabulary_size=3_000),
        search=replace(config.search, max_words=12),  # random weights end no caption
    )


def random_bundle(config: CaptionerConfig, seed: int = 1) -> Bundle:
    """Returns a captioner with random weights, float16, through which values keep their size.

    Args:
        config: The architecture.
        seed: Of the weights.

    Returns:
        He-scaled kernels, biases that are not zero so that a lost one is noticed, and outputs that differ enough for
        the best words to be told apart.

    Source:
        He et al. 2015, eq. 10 (arXiv:1502.01852).
    """
    random = np.random.default_rng(seed)
    pixels = _INPUT_DEVIATION[config.encoder.normalization]
    weights = {
        name: (random.standard_normal(shape, np.float32) * np.float32(_deviation(name, shape, pixels))).astype(
            np.float16
        )
        for name, shape in weight_shapes(config).items()
    }
    words = [f"word{number:04}" for number in range(1, config.decoder.vocabulary_size - len(SPECIAL) + 1)]
    classes = tuple(ClassName(f"n{index:08}", f"class {index}") for index in range(config.encoder.classes))
    return Bundle(config, Vocabulary([*SPECIAL, *words]), classes, weights)


def _deviation(name: str, shape: tuple[int, ...], pixels: float) -> float:
    """Returns the standard deviation of a tensor's values, given that of the first convolution's input."""
    spread = 1 / float(np.sqrt(np.prod(shape[:-1])))
    he = spread * float(np.sqrt(2))
    match name.split("/"):
        case _, _, "bias":
            return _BIAS_DEVIATION
        case _, _, "embeddings":
            return 1.0
        case "encoder", "block1_conv1", _:
            return he / pixels
        case "encoder", _, _:
            return he
        case _, "output", _:
            return _SHARPNESS * spread
        case _, _, "recurrent_kernel":
            return spread
        case _:
            return _GATE_GAIN * spread
