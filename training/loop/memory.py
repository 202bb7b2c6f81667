"""Parameters, memory and time of a training run, as lines of text. Any Keras backend."""

import math
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras

MIB = 2**20


def bytes_of(variables: Sequence[keras.Variable]) -> int:
    """Returns the size of variables of four bytes a number: float32 and int32."""
    return sum(4 * math.prod(variable.shape) for variable in variables)


def peak_bytes() -> int:
    """Returns the most memory that this process has held so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on a Mac


def needs_told(
    networks: Mapping[str, keras.Model], peak: int, sizes: Mapping[str, int], seconds: Sequence[float]
) -> list[str]:
    """Returns lines on parameters, memory and time.

    Args:
        networks: The networks that are trained, by name.
        peak: The most memory that the process holds, in bytes.
        sizes: Parts of it by what they are for, in bytes.
        seconds: Time of each step that was measured, in seconds.
    """
    listed = ", ".join(f"{name} {size / MIB:,.0f}" for name, size in sizes.items())
    return [
        *(
            f"{name}: {sum(math.prod(v.shape) for v in n.trainable_variables):,} parameters"
            for name, n in networks.items()
        ),
        f"memory of the process: about {peak / MIB:,.0f} MiB at its peak ({listed}; the rest is TensorFlow, "
        "its buffers and the data)",
        f"first step {seconds[0]:.1f} s, then {best_of(seconds):.3f} s each, the best of {len(seconds) - 1}",
    ]


def best_of(seconds: Sequence[float]) -> float:
    """Returns the time of a step: the shortest but for the first, which includes tracing."""
    return min(seconds[1:], default=seconds[0])


def duration_told(seconds: float) -> str:
    """Returns a time in minutes, or in hours from two on."""
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
