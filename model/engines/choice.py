"""Chooses the engine for a bundle on this machine."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Self, get_args

from model.errors import BundleError, ConfigError
from model.ranges import check_choice

EngineName = Literal["auto", "litert", "tensorflow"]
Precision = Literal["float32", "bfloat16", "float16"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
"""File that exists where a driver for NVIDIA's GPUs is loaded."""

_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts of a machine that the choice depends on.

    Attributes:
        has_gpu: Whether TensorFlow is installed and finds a GPU.
        cpu_flags: The CPU's feature flags; none if the system does not say.
    """

    has_gpu: bool
    cpu_flags: frozenset[str]

    @classmethod
    def here(cls, driver: Path = NVIDIA_DRIVER) -> Self:
        """Returns this machine. If the file `driver` exists, TensorFlow is imported to look for GPUs."""
        return cls(_has_gpu(driver), _cpu_flags())


def choose_engine(
    engine: EngineName, precision: Precision, *, has_lite_files: bool, machine: Machine | None = None
) -> Literal["litert", "tensorflow"]:
    """Chooses the engine: TensorFlow on a GPU, else LiteRT if the bundle has its files, else TensorFlow.

    Args:
        engine: The user's choice; `auto` leaves it to this function.
        precision: The user's choice of arithmetic; only TensorFlow has others than float32.
        has_lite_files: Whether the bundle has the files of LiteRT.
        machine: Where the engine will run; None for this machine.

    Returns:
        The engine.

    Raises:
        BundleError: LiteRT was asked for and the bundle lacks its files.
        ConfigError: There is no such engine or precision, the engine or this machine lacks the precision, or TensorFlow
            is needed and not installed.
    """
    check_choice("engine", engine, ENGINES)
    check_choice("precision", precision, PRECISIONS)
    if engine == "litert" and not has_lite_files:
        raise BundleError(
            "expected a bundle with encoder.tflite and decoder.tflite for the engine litert, found none; make them "
            "with `showtell-train convert`, or choose the engine tensorflow"
        )
    if engine == "litert" and precision != "float32":
        raise ConfigError(f"expected precision float32 with the engine litert, received {precision}; choose tensorflow")
    if engine == "litert":
        return "litert"
    if machine is None:
        machine = Machine.here()
    if not machine.has_gpu:
        _check_cpu(precision, machine.cpu_flags)
    if engine == "auto" and has_lite_files and not machine.has_gpu and precision == "float32":
        return "litert"
    if not _has_tensorflow():
        raise ConfigError(
            f"expected TensorFlow for {_reason(engine, precision)}, found it not installed; "
            "`pip install '.[tensorflow]'` (or '.[gpu]') in the project's directory installs it"
        )
    return "tensorflow"


def _reason(engine: EngineName, precision: Precision) -> str:
    """Returns the reason why TensorFlow is needed."""
    if engine == "tensorflow":
        return "the engine tensorflow"
    return "a bundle without LiteRT's files" if precision == "float32" else f"precision {precision}"


def _has_tensorflow() -> bool:
    return find_spec("tensorflow") is not None and find_spec("keras") is not None


def _has_gpu(driver: Path) -> bool:
    # Without a driver TensorFlow is not asked: importing it takes seconds and hundreds of MB.
    if not driver.exists() or not _has_tensorflow():
        return False
    from model.engines.quiet import quiet_tensorflow

    quiet_tensorflow()
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _check_cpu(precision: Precision, flags: frozenset[str]) -> None:
    if precision == "float16":
        raise ConfigError("expected a GPU for precision float16, found none; choose float32")
    if precision == "bfloat16" and not flags & _BFLOAT16_FLAGS:
        raise ConfigError("expected a CPU with bfloat16 arithmetic for precision bfloat16, found none; choose float32")


def _cpu_flags() -> frozenset[str]:
    """Returns the CPU's feature flags; none if the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    # "flags" on x86, "Features" on Arm.
    return frozenset(next((line for line in lines if line.startswith(("flags", "Features"))), "").split())
