"""Warms up a peer."""

import numpy as np

from model.config import IMAGE_PIXELS
from model.engines.protocol import Engine


def run_once(engine: Engine) -> None:
    """Runs the encoder and two steps of the decoder, so that memory is allocated and kernels are chosen."""
    encoded = engine.encode(np.zeros((1, IMAGE_PIXELS, IMAGE_PIXELS, 3), np.uint8))
    _, ids, state = engine.start(encoded.features)
    engine.step(ids[0, :1], np.zeros(1, np.int32), state)
