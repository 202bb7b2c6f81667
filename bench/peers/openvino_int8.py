"""OpenVINO, int8, from the ONNX files.

The encoder is quantised by NNCF after training, weights and activations, on pictures made in code. The decoder has
its weights compressed to int8, which is what NNCF recommends for networks that make text word by word; its activations
are quantised by OpenVINO as they come.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nncf
import numpy.typing as npt
import openvino

from bench.machine import cores
from bench.peers.graphs import DECODER, ENCODER, GraphEngine, Run, calibration_images, read_config
from model.config import IMAGE_PIXELS

_ENCODER_XML = "encoder.xml"
_DECODER_XML = "decoder.xml"


def quantize(onnx: Path, folder: Path) -> None:
    """Writes int8 graphs of a folder with ONNX files.

    Args:
        onnx: Folder with the float32 graphs.
        folder: Where OpenVINO's files go.
    """
    core = openvino.Core()
    encoder = core.read_model(onnx / ENCODER)
    encoder.reshape([1, IMAGE_PIXELS, IMAGE_PIXELS, 3])  # one image at a time is what is measured
    images = calibration_images()
    quantized = nncf.quantize(encoder, nncf.Dataset(images), subset_size=len(images))
    openvino.save_model(quantized, folder / _ENCODER_XML, compress_to_fp16=False)
    decoder = nncf.compress_weights(core.read_model(onnx / DECODER), mode=nncf.CompressWeightsMode.INT8_ASYM)
    openvino.save_model(decoder, folder / _DECODER_XML, compress_to_fp16=False)


def load(folder: Path) -> GraphEngine:
    """Loads the graphs of a folder, set up for the shortest time of one run on all cores."""
    core = openvino.Core()
    encoder, decoder = (_compiled(core, folder / name) for name in (_ENCODER_XML, _DECODER_XML))
    return GraphEngine("OpenVINO", read_config(folder), encoder, decoder)


def _compiled(core: Any, path: Path) -> Run:
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": cores()}
    request = core.compile_model(path, "CPU", options).create_infer_request()

    def run(inputs: Mapping[str, npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], ...]:
        return tuple(request.infer(dict(inputs)).values())

    return run
