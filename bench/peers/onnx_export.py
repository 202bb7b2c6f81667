"""Exports the PyTorch models as two ONNX files, for ONNX Runtime and OpenVINO."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.peers.graphs import DECODER, ENCODER
from bench.peers.pytorch import Decoder, Encoder
from model.bundle import Bundle
from model.config import IMAGE_PIXELS


class OneDecoder(nn.Module):  # type: ignore[misc]
    """A decoder with the first and the further steps in one graph, so that no file holds the weights twice.

    Args:
        decoder: The decoder.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, tokens: Any, parents: Any, state: Any, features: Any) -> tuple[Any, Any, Any]:
        """Continues the rows `parents` of the state with `tokens` (N,), or with features (N, D) where a token is -1."""
        is_first = (tokens < 0)[:, None]  # (N, 1)
        words = self.decoder.embedding(tokens.clamp(min=0))  # (N, E)
        image = self.decoder.projection(features)
        values = torch.where(is_first, image, words)
        barred = torch.where(is_first, self.decoder.barred_first, self.decoder.barred)
        before = torch.where(is_first, self.decoder.first_state(image), state[parents])
        result: tuple[Any, Any, Any] = self.decoder.advance(values, before, barred)
        return result


def export(bundle: Bundle, folder: Path) -> None:
    """Writes encoder and decoder of a bundle as ONNX files; see `bench.peers.graphs` for their inputs and outputs."""
    config = bundle.config
    images = torch.zeros((1, IMAGE_PIXELS, IMAGE_PIXELS, 3), dtype=torch.uint8)
    encoder = Encoder(config.encoder, bundle.weights).eval()
    _write(encoder, (images,), folder / ENCODER, {"images": "images"}, ("features", "probabilities"))
    decoder = OneDecoder(Decoder(config, bundle.weights)).eval()
    # Two rows, so that no dimension looks like one that is always 1.
    rows = torch.zeros(2, dtype=torch.int32)
    state = torch.zeros((2, config.decoder.state_units))
    features = torch.zeros((2, config.encoder.feature_units))
    sizes = {"tokens": "rows", "parents": "rows", "state": "states", "features": "rows"}
    _write(decoder, (rows, rows, state, features), folder / DECODER, sizes, ("log_probs", "ids", "next_state"))


def _write(
    network: Any, inputs: tuple[Any, ...], path: Path, first_dimensions: dict[str, str], outputs: tuple[str, ...]
) -> None:
    with warnings.catch_warnings(), torch.inference_mode():
        # The newer exporter needs two more packages and writes the same operators for these networks.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            inputs,
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=list(first_dimensions),
            output_names=list(outputs),
            dynamic_axes={name: {0: size} for name, size in first_dimensions.items()},
        )
