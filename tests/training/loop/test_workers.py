"""Several worker processes on this machine train as one does, stop together, and never wait for ever."""

import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from model.bundle import ClassName
from tests.training.processes import Command, wait_until
from training.data.labelled import LabelledImage
from training.data.records import write_class_records
from training.loop.checkpoint import BEST, read_progress
from training.loop.workers import lost

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STEPS = 5
EPOCHS = 3
TINY = ["--preset", "paper", "--widths", *["0.02"] * 5, "--input-pooling", "7", "--dropout", "0", "--batch-size", "7"]
TINY += ["--momentum", "0", "--learning-rate", "0.01", "--devices", "cpu", "--histogram-steps", "0"]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns class records of 35 noisy images to train on and 5 to score; two workers cut a batch in 3 and 4."""
    directory = tmp_path_factory.mktemp("records")
    random = np.random.default_rng(4)
    images = [
        LabelledImage(
            path=directory,
            name=str(index),
            label=index % 6,
            split="train" if index < 35 else "dev",
            pixels=random.integers(0, 40 + 40 * (index % 6), (28, 28), dtype=np.uint8),
        )
        for index in range(40)
    ]
    classes = [ClassName(f"n{label}", f"class {label}") for label in range(6)]
    assert write_class_records(directory, images, classes, shard_images=16) is not None
    return directory


def free_addresses(count: int) -> list[str]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{entry.getsockname()[1]}" for entry in sockets]


Start = Callable[..., list[Command]]


@pytest.fixture
def start(records: Path, tmp_path: Path) -> Iterator[Start]:
    """Returns a function from run directories, one a process, to running processes; none outlives the test."""
    started: list[Command] = []

    def begin(*outs: Path, options: tuple[str, ...] = (), addresses: list[str] | None = None) -> list[Command]:
        found = free_addresses(len(outs)) if addresses is None else addresses
        begun = []
        for index, out in enumerate(outs):
            task = {"type": "worker", "index": index}
            cluster = {"TF_CONFIG": json.dumps({"cluster": {"worker": found}, "task": task})} if len(found) > 1 else {}
            command = ("classifier", "--records", records, "--out", out, *TINY, *options)
            begun.append(Command(tmp_path / f"log-{len(started)}.txt", *command, environment=cluster))
            started.append(begun[-1])
        return begun

    yield begin
    for entry in started:
        entry.kill()


def has_checkpoint(out: Path) -> bool:
    return any(out.glob("checkpoints/*.safetensors"))


def test_two_workers_stopped_and_called_again_end_where_one_process_does(start: Start, tmp_path: Path) -> None:
    one = tmp_path / "one"
    two = tmp_path / "two"
    options = ("--epochs", str(EPOCHS))
    workers = start(two, two, options=(*options, "--checkpoint-steps", "1"))
    wait_until(lambda: has_checkpoint(two), *workers)
    workers[1].process.send_signal(signal.SIGTERM)  # the one that writes nothing
    assert [entry.ended() for entry in workers] == [130, 130], workers[0].told() + workers[1].told()
    step = max(read_progress(path)["step"] for path in two.glob("checkpoints/*.safetensors"))
    assert 0 < step < EPOCHS * STEPS
    (alone,) = start(one, options=options)
    workers = start(two, two, options=options)
    assert [entry.ended() for entry in (*workers, alone)] == [0, 0, 0], workers[0].told()
    assert all(f"continuing from step {step} of {EPOCHS * STEPS}" in entry.told() for entry in workers)
    expected = load_file(one / BEST)
    found = load_file(two / BEST)
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4 * np.abs(values).max(), err_msg=name)
    lines = [json.loads(line) for line in (two / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "dev"] == [STEPS, 2 * STEPS, 3 * STEPS]
    assert len(list((two / "tensorboard").glob("*.v2"))) == 2  # the chief's, before and after the stop


def test_a_worker_that_is_killed_ends_the_other_which_names_it(start: Start, tmp_path: Path) -> None:
    addresses = free_addresses(2)
    workers = start(tmp_path / "chief", tmp_path / "other", options=("--epochs", "1000", "--checkpoint-steps", "1"),
                    addresses=addresses)  # fmt: skip
    wait_until(lambda: has_checkpoint(tmp_path / "chief"), *workers)
    workers[1].kill()
    assert workers[0].ended() == 1
    assert f"Error: expected all 2 workers to the end, lost: {addresses[1]}; " in workers[0].error()
    assert not (tmp_path / "other").exists()  # the chief alone writes


def test_a_listener_that_closes_after_its_connections_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as alive, socket.create_server(("127.0.0.1", 0)) as dying:
        addresses = [f"127.0.0.1:{entry.getsockname()[1]}" for entry in (alive, dying)]
        assert lost(addresses, 0) == []
        threading.Timer(0.5, dying.shutdown, [socket.SHUT_RDWR]).start()
        assert lost(addresses, 60) == [addresses[1]]


def test_a_worker_that_never_comes_is_named_after_the_time_given(start: Start, tmp_path: Path) -> None:
    addresses = free_addresses(2)
    (worker,) = start(tmp_path / "out", options=("--worker-timeout-seconds", "5"), addresses=addresses)
    assert worker.ended() == 1
    assert f"Error: expected all 2 workers of TF_CONFIG within 5 s, missing: {addresses[1]}; " in worker.error()
    assert not (tmp_path / "out").exists()


def test_a_port_in_use_is_named(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        (worker,) = start(tmp_path / "out", addresses=[f"127.0.0.1:{port}", "127.0.0.1:1"])
        assert worker.ended() == 1
    assert f"Error: TF_CONFIG: expected port {port} of this worker to be free" in worker.error()
