"""The common part of ONNX Runtime and OpenVINO: two graphs in files, driven as an engine; pictures for their ranges."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.peers.once import run_once
from bench.photos import photo
from model.bundle import CONFIG
from model.config import CaptionerConfig
from model.engines.protocol import Encoded
from model.image import read_image
from model.search import Floats, Ints

ENCODER = "encoder.onnx"
DECODER = "decoder.onnx"

CALIBRATION_IMAGES = 32

Run = Callable[[Mapping[str, npt.NDArray[Any]]], tuple[npt.NDArray[Any], ...]]
"""Runs a graph on inputs by name; returns its outputs in order."""


class GraphEngine:
    """An engine of an encoder graph and a decoder graph.

    Args:
        name: Name of the engine.
        config: The architecture.
        encoder: From `images` (B, 224, 224, 3), uint8, to features (B, D) and class probabilities (B, C).
        decoder: From `tokens` (N,), `parents` (N,), `state` (R, S) and `features` (N, D), which are read in its place
            where a token is -1, to log-probabilities and ids (N, M) and the next state (N, S).
    """

    def __init__(self, name: str, config: CaptionerConfig, encoder: Run, decoder: Run) -> None:
        self.name = name
        self._encoder = encoder
        self._decoder = decoder
        self._units = config.decoder.state_units
        self._unread = np.zeros((1, config.encoder.feature_units), np.float32)

    def warm_up(self) -> None:
        """Runs everything once; see `Engine.warm_up`."""
        run_once(self)

    def encode(self, images: npt.NDArray[np.uint8]) -> Encoded:
        """Runs the encoder; see `Engine.encode`."""
        features, probabilities = self._encoder({"images": images})
        return Encoded(features, probabilities)

    def start(self, features: Any) -> tuple[Floats, Ints, Any]:
        """Reads the features; see `Engine.start`."""
        count = len(features)
        first = np.full(count, -1, np.int32)
        rows = np.arange(count, dtype=np.int32)
        return self._run(first, rows, np.zeros((count, self._units), np.float32), features)

    def step(self, tokens: Ints, parents: Ints, state: Any) -> tuple[Floats, Ints, Any]:
        """Scores the next words; see `Engine.step`."""
        return self._run(tokens, parents, state, np.repeat(self._unread, len(tokens), axis=0))

    def _run(self, tokens: Ints, parents: Ints, state: Any, features: Any) -> tuple[Floats, Ints, Any]:
        inputs = {"tokens": tokens, "parents": parents, "state": state, "features": features}
        log_probs, ids, state = self._decoder(inputs)
        return log_probs, ids, state


def calibration_images() -> list[npt.NDArray[np.uint8]]:
    """Returns drawn pictures (1, 224, 224, 3) by which the ranges of activations are set, other ones than are timed."""
    return [read_image(photo(1000 + number)).pixels[None] for number in range(CALIBRATION_IMAGES)]


def read_config(folder: Path) -> CaptionerConfig:
    """Reads the architecture that lies beside the graphs."""
    return CaptionerConfig.from_json((folder / CONFIG).read_text())
