"""The devices of a run: listed, chosen and configured."""

import re
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from model.errors import ConfigError
from training.config import DeviceConfig

DEVICES = re.compile(r"(?P<kind>auto|cpu|gpu)(?::(?P<which>\d+(,\d+)*))?")


@dataclass(frozen=True, slots=True)
class Device:
    """A device that TensorFlow sees: its name, its kind and further details."""

    name: str
    kind: str
    details: dict[str, Any]


def list_devices() -> list[Device]:
    """Returns the physical devices that TensorFlow can use on this machine."""
    return [
        Device(device.name, device.device_type, tf.config.experimental.get_device_details(device))
        for device in tf.config.list_physical_devices()
        if device.device_type in ("CPU", "GPU")
    ]


def gpu_peak_bytes() -> list[int]:
    """Returns the most memory that TensorFlow has held so far on each GPU that it uses, in bytes."""
    names = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices("GPU")]
    return [int(tf.config.experimental.get_memory_info(name)["peak"]) for name in names]


def configure_devices(config: DeviceConfig) -> list[str]:
    """Configures TensorFlow for a run. Call it before anything in this process uses TensorFlow.

    Args:
        config: Which devices and how to use them. `cpu:4` splits the one CPU into four logical devices, which stand
            in for GPUs; `gpu:0,2` uses two of the GPUs; `auto` uses all GPUs, or the CPU where there is none.

    Returns:
        Names of the logical devices, a replica each, for example `["GPU:0", "GPU:1"]`.

    Raises:
        ConfigError: A device does not exist, the CPU is to have a limit of memory, or TensorFlow is in use already.
    """
    kind, which = _parse(config.devices)
    gpus = tf.config.list_physical_devices("GPU")
    if kind == "auto":
        kind = "gpu" if gpus else "cpu"
    if kind == "cpu" and config.memory_limit_mb is not None:
        raise ConfigError(
            f"memory_limit_mb: expected a GPU with it, received devices {config.devices}, which is the CPU here; leave "
            "it out, and see with --estimate what the run needs"
        )
    try:
        tf.config.set_soft_device_placement(config.soft_placement)
        tf.debugging.set_log_device_placement(config.log_placement)
        names = _use_gpus(gpus, which, config) if kind == "gpu" else _use_cpu(which)
    except RuntimeError as error:
        raise ConfigError(
            f"devices {config.devices}: expected to set TensorFlow up before its first use, but it is in use: {error}"
        ) from error
    return names


def _parse(text: str) -> tuple[str, list[int]]:
    match = DEVICES.fullmatch(text)
    if match is None or (match["kind"] == "auto" and match["which"]):
        raise ConfigError(f"devices: expected auto, cpu, cpu:4, gpu or gpu:0,1, received {text!r}")
    return match["kind"], [int(number) for number in match["which"].split(",")] if match["which"] else []


def _use_cpu(which: list[int]) -> list[str]:
    if len(which) > 1 or which == [0]:
        raise ConfigError(f"devices: expected a number of logical CPU devices such as cpu:2, received {which}")
    count = which[0] if which else 1
    tf.config.set_visible_devices([], "GPU")
    if count > 1:
        (cpu,) = tf.config.list_physical_devices("CPU")
        logical = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
        tf.config.set_logical_device_configuration(cpu, logical)
    return [f"CPU:{index}" for index in range(count)]


def _use_gpus(gpus: list[Any], which: list[int], config: DeviceConfig) -> list[str]:
    chosen = sorted(set(which)) if which else list(range(len(gpus)))
    if not gpus or max(chosen) >= len(gpus):
        raise ConfigError(
            f"devices {config.devices}: expected GPUs that exist, found {len(gpus)}; see `showtell-train devices`"
        )
    visible = [gpus[index] for index in chosen]
    tf.config.set_visible_devices(visible, "GPU")
    for gpu in visible:
        if config.memory_limit_mb is None:
            tf.config.experimental.set_memory_growth(gpu, True)
        else:
            limit = tf.config.LogicalDeviceConfiguration(memory_limit=config.memory_limit_mb)
            tf.config.set_logical_device_configuration(gpu, [limit])
    return [f"GPU:{index}" for index in range(len(visible))]
