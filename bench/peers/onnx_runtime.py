"""ONNX Runtime, float32."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime

from bench.machine import cores
from bench.peers.graphs import DECODER, ENCODER, GraphEngine, Run, read_config


def load(folder: Path) -> GraphEngine:
    """Loads the graphs of a folder, with all cores for one run."""
    return GraphEngine("ONNX Runtime", read_config(folder), _session(folder / ENCODER), _session(folder / DECODER))


def _session(path: Path) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], ...]:
        return tuple(session.run(None, dict(inputs)))

    return run
