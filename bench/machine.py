"""Describes the machine and the versions that figures belong to."""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16", "asimddp", "i8mm", "bf16")
"""What decides how fast int8 and bfloat16 are, in the kernel's names for x86 and Arm."""

PACKAGES = (
    "tensorflow", "keras", "ai-edge-litert", "ai-edge-quantizer", "numpy", "pillow", "flask", "gunicorn", "torch",
    "onnx", "onnxruntime", "openvino", "nncf", "litserve", "bentoml",
)  # fmt: skip


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def machine() -> dict[str, str]:
    """Describes the machine and the versions that the figures belong to."""
    cpu = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line for line in cpu if line.startswith("model name")]
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "processor": names[0].partition(":")[2].strip() if names else platform.processor(),
        "cores": str(cores()),
        "flags": " ".join(_flags(cpu)) or "none of interest",
        "memory": f"{int(memory.split()[1]) / 2**20:.0f} GiB",
        "python": platform.python_version(),
        **_versions(),
    }


def _flags(cpu: Iterable[str]) -> list[str]:
    line = next((line for line in cpu if line.startswith(("flags", "Features"))), "")
    return [flag for flag in FLAGS if flag in line.split()]


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
