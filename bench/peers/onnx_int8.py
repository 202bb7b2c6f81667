"""Quantises the ONNX files to int8 with ONNX Runtime's own tools, as its documentation recommends for a CPU.

The encoder, a convolutional network: fixed ranges, set by the pictures that OpenVINO gets too; int8 for weights and
activations in the form QDQ, weights by channel, after its preprocessing of shapes and graph. The decoder, a recurrent
network: dynamic ranges.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from bench.peers.graphs import DECODER, ENCODER, calibration_images


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    """The pictures that ranges are set by, one after the other."""

    def __init__(self) -> None:
        self._left: Iterator[npt.NDArray[Any]] = iter(calibration_images())

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        """Returns the inputs of one run, or None when there are no more."""
        images = next(self._left, None)
        return None if images is None else {"images": images}


def quantize(onnx: Path, folder: Path) -> None:
    """Writes int8 graphs of a folder with ONNX files.

    Args:
        onnx: Folder with the float32 graphs.
        folder: Where the int8 graphs go, under the same names.
    """
    with tempfile.TemporaryDirectory() as temporary:
        prepared = Path(temporary) / ENCODER
        quant_pre_process(str(onnx / ENCODER), str(prepared))
        quantize_static(
            str(prepared),
            str(folder / ENCODER),
            _Pictures(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
    quantize_dynamic(str(onnx / DECODER), str(folder / DECODER), weight_type=QuantType.QInt8, per_channel=True)
