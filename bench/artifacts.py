"""Makes the files that engines load, once: bundles, ONNX, OpenVINO, and the reference's outputs."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np

from bench import process
from bench.cache import cached
from bench.machine import machine
from bench.sizes import Size, architecture, source
from model.bundle import CONFIG, DEFAULT_BUNDLE, LITE_ENCODER, load_bundle, save_bundle
from model.engines.quiet import quiet_tensorflow
from model.manifest import MANIFEST

Kind = Literal["bundle", "reference", "onnx", "onnx int8", "openvino"]
KINDS: tuple[Kind, ...] = get_args(Kind)

RECORD = "record.npz"

_HERE = Path(__file__).parent
_MODEL = _HERE.parent / "model"


def prepared(kind: Kind, size: Size) -> Path:
    """Returns the directory of an artifact, made in a process of its own where it is missing or stale."""
    return Path(process.run_json("bench.artifacts", kind, size))


def _bundle(size: Size) -> Path:
    """Returns a bundle with the files of every engine of ours."""
    if size == "default bundle" and (DEFAULT_BUNDLE / LITE_ENCODER).exists():
        return DEFAULT_BUNDLE
    converter = [_HERE.parent / "training" / "shipping" / name for name in ("convert.py", "rounding.py")]
    versions = [machine()[name] for name in ("tensorflow", "ai-edge-quantizer")]
    made_from = [*_identity(size), *converter, *versions]

    def make(folder: Path) -> None:
        quiet_tensorflow()
        from training.shipping.convert import convert

        bundle = source(size)
        save_bundle(folder / "bundle", bundle, convert(bundle).files)

    return cached(_name(size, "bundle"), made_from, make) / "bundle"


def _reference(size: Size) -> Path:
    made_from = [*_identity(size), _HERE / "parity.py", _HERE / "photos.py", _MODEL / "engines" / "tensorflow.py"]

    def make(folder: Path) -> None:
        quiet_tensorflow()
        from bench.parity import record
        from model.engines.tensorflow import TensorFlowEngine

        np.savez(folder / RECORD, allow_pickle=False, **record(TensorFlowEngine.of(load_bundle(_bundle(size)))))

    return cached(_name(size, "reference"), made_from, make)


def _onnx(size: Size) -> Path:
    made_from: list[str | Path] = [*_identity(size), _HERE / "peers" / "pytorch.py", _HERE / "peers" / "onnx_export.py"]

    def make(folder: Path) -> None:
        from bench.peers.onnx_export import export

        shutil.copy(_bundle(size) / CONFIG, folder)
        export(load_bundle(_bundle(size)), folder)

    return cached(_name(size, "onnx"), [*made_from, machine()["torch"]], make)


def _onnx_int8(size: Size) -> Path:
    onnx = _onnx(size)
    sources = [_HERE / "peers" / name for name in ("onnx_int8.py", "graphs.py")]
    made_from: list[str | Path] = [onnx.name, *sources, _HERE / "photos.py", machine()["onnxruntime"]]

    def make(folder: Path) -> None:
        from bench.peers.onnx_int8 import quantize

        shutil.copy(onnx / CONFIG, folder)
        quantize(onnx, folder)

    return cached(_name(size, "onnx int8"), made_from, make)


def _openvino(size: Size) -> Path:
    onnx = _onnx(size)
    sources = [_HERE / "peers" / name for name in ("openvino_int8.py", "graphs.py")]
    versions = [machine()["openvino"], machine()["nncf"]]
    made_from: list[str | Path] = [onnx.name, *sources, _HERE / "photos.py", *versions]

    def make(folder: Path) -> None:
        from bench.peers.openvino_int8 import quantize

        shutil.copy(onnx / CONFIG, folder)
        quantize(onnx, folder)

    return cached(_name(size, "openvino"), made_from, make)


MAKERS: dict[Kind, Callable[[Size], Path]] = {
    "bundle": _bundle,
    "reference": _reference,
    "onnx": _onnx,
    "onnx int8": _onnx_int8,
    "openvino": _openvino,
}


def _name(size: Size, kind: Kind) -> str:
    return f"{size} {kind}".replace(" ", "-")


def _identity(size: Size) -> list[str | Path]:
    """Returns what the weights of a size depend on."""
    if size == "default bundle":
        return [DEFAULT_BUNDLE / MANIFEST]
    return [architecture(size).to_json(), _HERE / "sizes.py", _MODEL / "encoder.py", _MODEL / "decoder.py"]


if __name__ == "__main__":
    process.answer_json(str(MAKERS[cast(Kind, sys.argv[1])](cast(Size, sys.argv[2]))))
