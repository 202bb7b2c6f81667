"""Which devices a run uses: what is accepted, what is set up, what is listed."""

import json
import subprocess
import sys
from typing import Any

import pytest

from model.errors import ConfigError
from training.config import DeviceConfig
from training.loop.devices import configure_devices, list_devices

SET_UP = """
import json, sys
import tensorflow as tf
from training.config import DeviceConfig
from training.loop.devices import configure_devices

names = configure_devices(DeviceConfig(**json.loads(sys.argv[1])))
found = [device.name for device in tf.config.list_logical_devices("CPU")]
print(json.dumps([names, found, tf.config.get_soft_device_placement(), tf.debugging.get_log_device_placement()]))
"""


def set_up(**config: Any) -> list[Any]:
    """Sets devices up in a process of their own; returns names, logical CPUs, soft placement and logging."""
    command = [sys.executable, "-c", SET_UP, json.dumps(config)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200).stdout
    return list(json.loads(output.splitlines()[-1]))


@pytest.mark.parametrize("text", ["tpu", "auto:2", "", "cpu:", "cpu:a", "cpu:-1", "gpu:0,", "gpu:0;1", "CPU", " cpu"])
def test_a_device_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=rf"devices: expected auto, cpu, cpu:4, gpu or gpu:0,1, received '{text}'"):
        configure_devices(DeviceConfig(devices=text))


@pytest.mark.parametrize("text", ["cpu:0", "cpu:1,2"])
def test_a_number_of_logical_devices_is_one_number_above_zero(text: str) -> None:
    with pytest.raises(ConfigError, match="devices: expected a number of logical CPU devices such as cpu:2"):
        configure_devices(DeviceConfig(devices=text))


def test_a_gpu_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"devices gpu:99: expected GPUs that exist, found \d+; see"):
        configure_devices(DeviceConfig(devices="gpu:99"))


@pytest.mark.parametrize("config", [{"memory_limit_mb": 0}, {"worker_timeout_seconds": 0}, {"precision": "float64"}])
def test_a_value_outside_its_range_is_named(config: dict[str, Any]) -> None:
    (name,) = config
    with pytest.raises(ConfigError, match=f"{name}: expected"):
        DeviceConfig(**config)


@pytest.mark.parametrize("devices", ["cpu", "cpu:2"])
def test_a_limit_of_memory_is_refused_for_the_cpu(devices: str) -> None:
    with pytest.raises(
        ConfigError, match=f"memory_limit_mb: expected a GPU with it, received devices {devices}, which"
    ):
        configure_devices(DeviceConfig(devices=devices, memory_limit_mb=100))


def test_devices_cannot_be_changed_once_tensorflow_is_in_use() -> None:
    import tensorflow as tf

    tf.constant(1.0)
    with pytest.raises(ConfigError, match="devices cpu:3: expected to set TensorFlow up before its first use"):
        configure_devices(DeviceConfig(devices="cpu:3"))


def test_a_cpu_is_split_into_logical_devices() -> None:
    names, found, soft, logged = set_up(devices="cpu:4", soft_placement=False, log_placement=True)
    assert names == [f"CPU:{index}" for index in range(4)]
    assert found == [f"/device:CPU:{index}" for index in range(4)]
    assert (soft, logged) == (False, True)


def test_a_cpu_is_one_device_with_soft_placement_unless_told_otherwise() -> None:
    assert set_up(devices="cpu") == [["CPU:0"], ["/device:CPU:0"], True, False]


def test_devices_lists_the_cpu() -> None:
    assert [device.kind for device in list_devices()].count("CPU") == 1
    command = [sys.executable, "-m", "training.cli", "devices"]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200).stdout
    assert "/physical_device:CPU:0" in output
