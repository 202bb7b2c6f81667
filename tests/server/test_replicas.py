"""Replicas: how many are loaded with how many threads, and several behind one queue."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from model.captioner import Captioner
from model.errors import ConfigError
from model.options import Search
from server.batching import InferenceQueue, Predictor
from server.errors import DeadlineExceededError, NotReadyError
from server.jobs import PredictOptions
from server.metrics import ServerMetrics
from server.replicas import Measured, Plan, check_replicas, is_better, loaded, measured, plans
from tests.conftest import wait_until
from tests.server.conftest import HeldCaptioner, QueueOf

OPTIONS = PredictOptions(search=Search(beam_size=1), captions=1, classes=0)


def images(count: int = 1) -> npt.NDArray[np.uint8]:
    return np.zeros((count, 224, 224, 3), np.uint8)


def soon() -> float:
    return time.monotonic() + 30


@pytest.mark.parametrize(
    ("cores", "found"),
    [
        (1, [(1, 1)]),
        (2, [(1, 2), (2, 1)]),
        (6, [(1, 6), (2, 3), (6, 1)]),
        (64, [(1, 64), (2, 32), (4, 16), (8, 8), (16, 4), (32, 2), (64, 1)]),
    ],
)
def test_plans_share_the_cores(cores: int, found: list[tuple[int, int]]) -> None:
    assert plans(cores) == [Plan(*plan) for plan in found]


@pytest.mark.parametrize(
    ("rate", "alone", "is_taken"), [(150.0, 0.1, True), (130.0, 0.1, True), (129.0, 0.1, False), (200.0, 0.3, False)]
)
def test_more_replicas_are_taken_where_they_gain_enough_and_a_lone_photo_is_in_time(
    rate: float, alone: float, is_taken: bool
) -> None:
    assert is_better(Measured(rate, alone), Measured(100.0, 0.05), 0.25) == is_taken


@pytest.fixture
def loading(toy_bundle: Path) -> tuple[Callable[[int | None], Captioner], list[int | None]]:
    """Returns a function that loads the toy captioner, and the threads that it was called with."""
    threads: list[int | None] = []

    def load(count: int | None) -> Captioner:
        threads.append(count)
        return Captioner.load(toy_bundle, threads=count)

    return load, threads


@pytest.mark.parametrize(
    ("wanted", "cores", "threads"), [("1", 8, [None]), ("2", 8, [4, 4]), ("3", 8, [2, 2, 2]), ("2", 1, [1, 1])]
)
def test_as_many_replicas_are_loaded_as_are_wanted_and_share_the_cores(
    loading: tuple[Callable[[int | None], Captioner], list[int | None]],
    wanted: str,
    cores: int,
    threads: list[int | None],
) -> None:
    load, asked = loading
    assert len(loaded(load, wanted, cores, 1.0)) == len(threads)
    assert asked == threads


def test_measuring_chooses_one_of_the_plans_with_all_its_replicas(
    loading: tuple[Callable[[int | None], Captioner], list[int | None]],
) -> None:
    load, asked = loading
    found = measured(load, plans(2), 60.0)
    assert asked == [None, 1, 1]
    assert len(found) in (1, 2)
    assert len({id(replica) for replica in found}) == len(found)


def test_a_lone_photo_that_would_take_too_long_leaves_one_replica(
    loading: tuple[Callable[[int | None], Captioner], list[int | None]],
) -> None:
    assert len(measured(loading[0], plans(4), 0.0)) == 1


def test_an_engine_that_takes_all_cores_has_one_replica(inference: InferenceQueue) -> None:
    class Whole(HeldCaptioner):
        """The captioner that another engine runs."""

        def predict(self, images: npt.NDArray[np.uint8], **options: object) -> list[object]:  # type: ignore[override]
            return inference.captioner.predict(images, **options)  # type: ignore[arg-type, return-value]

    def load(_: int | None) -> Predictor:
        return Whole(inference.captioner.config)  # type: ignore[return-value]

    assert len(loaded(load, "auto", 8, 1.0)) == len(loaded(load, "1", 8, 1.0)) == 1
    with pytest.raises(ConfigError, match="expected 1 or auto with the engine held, received 2"):
        loaded(load, "2", 8, 1.0)
    with pytest.raises(ConfigError, match="with the engine tensorflow"):
        check_replicas("tensorflow", "4")
    check_replicas("litert", "4")


@pytest.fixture
def pair(inference: InferenceQueue) -> Iterator[tuple[HeldCaptioner, HeldCaptioner]]:
    """Yields two captioners that wait for the test."""
    pair = HeldCaptioner(inference.captioner.config), HeldCaptioner(inference.captioner.config)
    yield pair
    for captioner in pair:
        captioner.released.set()


Pair = tuple[HeldCaptioner, HeldCaptioner]


@pytest.fixture
def queue(queue_of: QueueOf, pair: Pair) -> InferenceQueue:
    queue = queue_of()
    queue.serve(*pair)
    return queue


def test_replicas_work_at_the_same_time(queue: InferenceQueue, pair: Pair) -> None:
    jobs = [queue.submit(images(), OPTIONS, soon()) for _ in range(2)]
    assert all(captioner.started.wait(10) for captioner in pair)
    for captioner in pair:
        captioner.released.set()
    assert [len(job.result().predictions) for job in jobs] == [1, 1]
    assert [captioner.batch_sizes for captioner in pair] == [[1], [1]]


def test_what_waits_is_shared(queue: InferenceQueue, pair: Pair) -> None:
    busy = [queue.submit(images(), OPTIONS, soon()) for _ in range(2)]
    assert all(captioner.started.wait(10) for captioner in pair)
    job = queue.submit(images(8), OPTIONS, soon())
    pair[0].released.set()
    wait_until(lambda: len(pair[0].batch_sizes) > 1)
    assert pair[0].batch_sizes[1] == 4
    pair[1].released.set()
    assert len(job.result().predictions) == 8
    assert all(busy_job.result().predictions for busy_job in busy)


def test_the_answers_of_a_request_that_replicas_share_come_in_order(toy_bundle: Path, queue_of: QueueOf) -> None:
    random = np.random.default_rng(6)
    pictures = random.integers(0, 256, (7, 7, 7, 3), np.uint8).repeat(32, axis=1).repeat(32, axis=2)
    replicas = [Captioner.load(toy_bundle, threads=1) for _ in range(3)]
    # Before the queue's thread has the replica: a captioner allows one caller at a time.
    expected = replicas[0].predict(pictures, search=OPTIONS.search, classes=0)
    queue = queue_of(batch=2)
    job = queue.submit(pictures, OPTIONS, soon())
    queue.serve(*replicas)
    assert [found.captions for found in job.result().predictions] == [found.captions for found in expected]


def test_one_answer_comes_of_a_request_of_which_two_replicas_fail(queue: InferenceQueue, pair: Pair) -> None:
    for captioner in pair:
        captioner.error = ZeroDivisionError("of both")
        captioner.released.set()
    with pytest.raises(ZeroDivisionError, match="of both"):
        queue.submit(images(6), OPTIONS, soon()).result()


def test_a_replica_that_fails_leaves_the_others_work_alone(queue: InferenceQueue, pair: Pair) -> None:
    jobs = [queue.submit(images(), OPTIONS, soon()) for _ in range(2)]
    assert all(captioner.started.wait(10) for captioner in pair)
    pair[0].error = ZeroDivisionError("of one")
    for captioner in pair:
        captioner.released.set()
    results = []
    for job in jobs:
        try:
            results.append(len(job.result().predictions))
        except ZeroDivisionError:
            results.append(-1)
    assert sorted(results) == [-1, 1]
    pair[0].error = None
    assert len(queue.submit(images(4), OPTIONS, soon()).result().predictions) == 4


def test_a_deadline_holds_while_every_replica_is_busy(queue: InferenceQueue, pair: Pair) -> None:
    busy = [queue.submit(images(), OPTIONS, soon()) for _ in range(2)]
    assert all(captioner.started.wait(10) for captioner in pair)
    with pytest.raises(DeadlineExceededError):
        queue.submit(images(), OPTIONS, time.monotonic()).result()
    assert queue.oldest_seconds > 0
    for captioner in pair:
        captioner.released.set()
    assert [len(job.result().predictions) for job in busy] == [1, 1]
    wait_until(lambda: queue.oldest_seconds == 0)


def test_other_replicas_take_over_from_the_next_batch_on_and_the_threads_of_the_old_ones_end(
    queue_of: QueueOf, pair: Pair, held: HeldCaptioner
) -> None:
    metrics = ServerMetrics()
    queue = queue_of(metrics=metrics)
    before = threading.active_count()
    queue.serve(*pair)
    busy = [queue.submit(images(), OPTIONS, soon()) for _ in range(2)]
    assert all(captioner.started.wait(10) for captioner in pair)
    newer = HeldCaptioner(replace(held.config, version="newer"))
    newer.released.set()
    assert metrics.registry.get_sample_value("showtell_replicas") == 2
    queue.serve(newer)
    assert metrics.registry.get_sample_value("showtell_replicas") == 1
    assert len(queue.submit(images(3), OPTIONS, soon()).result().predictions) == 3
    assert newer.batch_sizes == [3]
    for captioner in pair:
        captioner.released.set()
    assert [len(job.result().predictions) for job in busy] == [1, 1]
    wait_until(lambda: threading.active_count() == before + 1)
    assert queue.captioner is newer


def test_a_closed_queue_ends_the_threads_of_all_replicas_and_refuses_what_waits(queue_of: QueueOf, pair: Pair) -> None:
    before = threading.active_count()
    queue = queue_of()
    queue.serve(*pair)
    busy = [queue.submit(images(), OPTIONS, soon()) for _ in range(2)]
    assert all(captioner.started.wait(10) for captioner in pair)
    waiting = queue.submit(images(), OPTIONS, soon())
    closing = threading.Thread(target=queue.close)
    closing.start()
    with pytest.raises(NotReadyError, match="shutting down"):
        waiting.result()
    for captioner in pair:
        captioner.released.set()
    closing.join(10)
    assert [len(job.result().predictions) for job in busy] == [1, 1]
    assert threading.active_count() == before
