"""How a run's replicas are set up, and how they share a batch."""

import numpy as np
import pytest
import tensorflow as tf

from model.errors import ConfigError
from tests.training.stages import SIZES, replicas_of
from training.config import DeviceConfig
from training.loop.replicas import Replicas


@pytest.mark.parametrize(("count", "size"), SIZES)
def test_parts_make_up_the_batch_and_differ_by_one_at_most(count: int, size: int) -> None:
    batch = tf.data.Dataset.from_tensors((np.arange(size), np.arange(size) * 2))
    parts = [part[0].numpy() for part in replicas_of(count).parts(batch)]
    assert np.concatenate(parts).tolist() == list(range(size))
    assert len(parts) == count
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_workers_cut_a_batch_where_one_process_does() -> None:
    batch = tf.data.Dataset.from_tensors(np.arange(7))
    one = tf.distribute.get_strategy()
    parts = [
        part.numpy().tolist()
        for worker in (0, 1)
        for part in Replicas(one, count=4, local=2, worker=worker, workers=2).parts(batch)
    ]
    assert parts == [part.numpy().tolist() for part in replicas_of(4).parts(batch)] == [[0], [1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", '"a"', "{}", '{"cluster": {"worker": ["a:1", "b:1"]}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": -1}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": "0"}}',
        '{"cluster": {"worker": ["a", "b:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:port", "b:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:99999", "b:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": [1, 2]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": []}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["b:1"], "chief": ["a:1"]}, "task": {"type": "chief", "index": 0}}',
        '{"cluster": {"worker": ["b:1", "a:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)  # fmt: skip
def test_a_malformed_tf_config_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError, match=r"TF_CONFIG: expected .*worker.*, received"):
        Replicas.start(DeviceConfig(devices="cpu"))


def test_a_tf_config_of_one_worker_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    config = '{"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "worker", "index": 0}}'
    monkeypatch.setenv("TF_CONFIG", config)
    found = Replicas.start(DeviceConfig(devices="cpu"))
    assert (found.count, found.workers, found.chief) == (1, 1, True)


def test_logical_devices_do_not_come_with_several_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    config = '{"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 0}}'
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ConfigError, match="devices cpu:4: expected cpu or GPUs with several workers"):
        Replicas.start(DeviceConfig(devices="cpu:4"))
