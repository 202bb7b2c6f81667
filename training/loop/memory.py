"""Parameters, memory and time of a training run, as lines of text. Any Keras backend."""

import math
from collections.abc import Mapping, Sequence

import keras

MIB = 2**20


def bytes_of(variables: Sequence[keras.Variable]) -> int:
    """Returns the size of variables of four bytes a number: float32 and int32."""
    return sum(4 * math.prod(variable.shape) for variable in variables)


def activation_bytes(network: keras.Model, batch_size: int) -> int:
    """Returns the size of the outputs of all layers, kept for the backward pass, and of their gradients."""
    outputs = [layer.output for layer in network.layers if not isinstance(layer.output, dict)]
    return int(2 * batch_size * activation_width() * sum(math.prod(output.shape[1:]) for output in outputs))


def activation_width() -> int:
    """Returns the bytes of a number between two layers."""
    return 2 if "16" in keras.config.dtype_policy().compute_dtype else 4


def needs_told(
    networks: Mapping[str, keras.Model], devices: int, sizes: Mapping[str, int], seconds: Sequence[float]
) -> list[str]:
    """Returns lines on parameters, memory and time.

    Args:
        networks: The networks that are trained, by name.
        devices: Number of devices.
        sizes: Memory on each device by what it is for, in bytes.
        seconds: Time of each step that was measured, in seconds.
    """
    listed = ", ".join(f"{name} {size / MIB:,.0f}" for name, size in sizes.items())
    return [
        *(
            f"{name}: {sum(math.prod(v.shape) for v in n.trainable_variables):,} parameters"
            for name, n in networks.items()
        ),
        f"memory on each of {devices} devices, about: {sum(sizes.values()) / MIB:,.0f} MiB ({listed})",
        f"first step {seconds[0]:.1f} s, then {best_of(seconds):.3f} s each, the best of {len(seconds) - 1}",
    ]


def best_of(seconds: Sequence[float]) -> float:
    """Returns the time of a step: the shortest but for the first, which includes tracing."""
    return min(seconds[1:], default=seconds[0])


def duration_told(seconds: float) -> str:
    """Returns a time in minutes, or in hours from two on."""
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
