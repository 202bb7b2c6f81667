"""PyTorch compiled by `torch.compile`, float32."""

from typing import Any

import numpy as np
import torch

from bench.peers.pytorch import Decoder, Encoder, PyTorchEngine
from model.search import Floats, Ints

OPTIONS: dict[str, Any] = {"freezing": True}
"""Inductor's, for answers on a CPU: weights are constants, laid out once as the kernels want them."""


class CompiledEngine(PyTorchEngine):
    """The PyTorch engine, compiled for fixed shapes when each is first seen.

    Args:
        encoder: The encoder.
        decoder: Its decoder.
    """

    name = "PyTorch compiled"

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__(encoder, decoder)
        self._run_encoder, self._run_start, self._run_step = (
            torch.compile(function, fullgraph=True, dynamic=False, options=OPTIONS)
            for function in (self._run_encoder, self._run_start, self._run_step)
        )

    def step(self, tokens: Ints, parents: Ints, state: Any) -> tuple[Floats, Ints, Any]:
        """Scores the next words; see `Engine.step`. The search's tokens lie apart by another distance at every word."""
        return super().step(np.ascontiguousarray(tokens), np.ascontiguousarray(parents), state)
