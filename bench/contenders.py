"""The compared engines: how each is loaded, and how far it may be from the reference."""

from dataclasses import dataclass
from pathlib import Path
from shutil import which

from bench.apart import absent
from bench.artifacts import Kind
from bench.parity import FLOAT32, INT8, Tolerance
from model.bundle import BundleInfo, load_bundle
from model.engines.protocol import Engine
from model.engines.quiet import quiet_tensorflow


@dataclass(frozen=True, slots=True)
class Contender:
    """One engine of the comparison.

    Attributes:
        key: Name on the command line.
        what: Name in the report.
        loaded_from: The artifact that it is loaded from.
        tolerance: How far it may be from the reference.
        modules: Libraries that it needs and that the project does not install.
        programs: Commands that it needs besides.
        remark: Note for the report.
    """

    key: str
    what: str
    loaded_from: Kind = "bundle"
    tolerance: Tolerance = FLOAT32
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    remark: str = ""

    def missing(self) -> str | None:
        """Returns what is not installed, and what to do; None if everything is."""
        programs = [name for name in self.programs if which(name) is None]
        told = f"not installed: {', '.join(programs)}; install your system's package" if programs else None
        return absent(self.modules) or told


OURS = Contender("litert", "ours, LiteRT int8", tolerance=INT8)
REFERENCE = Contender("tensorflow", "ours, TensorFlow float32 function")
CONTENDERS = (
    REFERENCE,
    OURS,
    Contender("keras", "Keras predict float32", remark="predict for every word, best words in NumPy"),
    Contender("torch", "PyTorch eager float32", modules=("torch",), remark="channels last"),
    Contender(
        "torch-compiled", "PyTorch compiled float32", modules=("torch",), programs=("g++",),
        remark="torch.compile with frozen weights, channels last",
    ),
    Contender(
        "onnx", "ONNX Runtime float32", "onnx", modules=("torch", "onnx", "onnxruntime"), remark="exported from PyTorch"
    ),
    Contender(
        "onnx-int8", "ONNX Runtime int8", "onnx int8", INT8, ("torch", "onnx", "onnxruntime"),
        remark="encoder: fixed ranges, QDQ, by channel; decoder: dynamic ranges",
    ),
    Contender(
        "openvino", "OpenVINO int8", "openvino", INT8, ("torch", "onnx", "openvino", "nncf"),
        remark="encoder: weights and activations, after training; decoder: weights",
    ),
)  # fmt: skip


def load_engine(key: str, folder: Path) -> Engine:
    """Loads an engine as a serving program would: nothing is imported for other engines.

    Args:
        key: Of a contender.
        folder: The artifact that it is loaded from.

    Raises:
        ValueError: There is no such contender.
    """
    match key:
        case "litert":
            from model.engines.lite import LiteEngine

            return LiteEngine.of(folder, BundleInfo.from_bundle(folder).config)
        case "tensorflow":
            quiet_tensorflow()
            from model.engines.tensorflow import TensorFlowEngine

            return TensorFlowEngine.of(load_bundle(folder))
        case "keras":
            quiet_tensorflow()
            from bench.peers.keras_predict import KerasPredictEngine

            return KerasPredictEngine.of(load_bundle(folder))
        case _:
            return _load_peer(key, folder)


def _load_peer(key: str, folder: Path) -> Engine:
    match key:
        case "torch":
            from bench.peers.pytorch import PyTorchEngine

            return PyTorchEngine.of(load_bundle(folder))
        case "torch-compiled":
            from bench.peers.pytorch_compiled import CompiledEngine

            return CompiledEngine.of(load_bundle(folder))
        case "onnx" | "onnx-int8":
            from bench.peers import onnx_runtime

            return onnx_runtime.load(folder)
        case "openvino":
            from bench.peers import openvino_int8

            return openvino_int8.load(folder)
        case _:
            raise ValueError(f"expected one of {', '.join(c.key for c in CONTENDERS)}, received {key!r}; choose one")
