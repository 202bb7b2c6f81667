"""The queue in front of the captioner: full, late, failing and not ready, with nothing left to chance or to time."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from model.captioner import Captioner, Prediction
from model.options import Search
from model.search import Wanted
from server.batching import InferenceQueue
from server.errors import DeadlineExceededError, NotReadyError, QueueFullError
from server.jobs import Job, PredictOptions
from server.metrics import ServerMetrics
from tests.server.conftest import HeldCaptioner, QueueOf

Images = npt.NDArray[np.uint8]

OPTIONS = PredictOptions(search=Search(beam_size=1), captions=1, classes=0)


def images(count: int = 1) -> Images:
    return np.zeros((count, 224, 224, 3), np.uint8)


def soon() -> float:
    return time.monotonic() + 30


def test_a_job_is_answered_in_the_order_of_its_images(inference: InferenceQueue) -> None:
    answer = inference.submit(images(3), OPTIONS, soon()).result()
    assert len(answer.predictions) == 3
    assert answer.queue_seconds >= 0


def test_a_full_queue_refuses_the_next_job_at_once(held_inference: InferenceQueue, held: HeldCaptioner) -> None:
    running = held_inference.submit(images(), OPTIONS, soon())
    assert held.started.wait(10)
    fullness = [held_inference.is_full]
    waiting = held_inference.submit(images(), OPTIONS, soon())
    assert [*fullness, held_inference.is_full] == [False, True]
    with pytest.raises(QueueFullError, match="at most 1 images may wait"):
        held_inference.submit(images(), OPTIONS, soon())
    held.released.set()
    assert len(running.result().predictions) == len(waiting.result().predictions) == 1


def test_a_job_that_nobody_waits_for_is_never_started(held_inference: InferenceQueue, held: HeldCaptioner) -> None:
    running = held_inference.submit(images(1), OPTIONS, soon())
    assert held.started.wait(10)
    late = held_inference.submit(images(2), OPTIONS, time.monotonic())
    with pytest.raises(DeadlineExceededError):
        late.result()
    held.released.set()
    running.result()
    held_inference.submit(images(3), OPTIONS, soon()).result()
    assert held.batch_sizes == [1, 3]


def test_a_deadline_that_has_passed_ends_a_job_of_a_real_captioner(inference: InferenceQueue) -> None:
    with pytest.raises(DeadlineExceededError):
        inference.submit(images(), OPTIONS, time.monotonic() - 1).result()
    assert len(inference.submit(images(), OPTIONS, soon()).result().predictions) == 1


@pytest.fixture
def waiting_behind_one(queue_of: QueueOf, held: HeldCaptioner) -> QueueOf:
    """Returns a function to a queue whose captioner is held with one image: what is submitted next waits together."""

    def make(**given: Any) -> InferenceQueue:
        queue = queue_of(held, **given)
        queue.submit(images(), OPTIONS, soon())
        assert held.started.wait(10)
        return queue

    return make


def test_what_waits_together_is_worked_on_together_up_to_the_largest_batch(
    waiting_behind_one: QueueOf, held: HeldCaptioner
) -> None:
    metrics = ServerMetrics()
    queue = waiting_behind_one(metrics=metrics, batch=4)
    jobs = [queue.submit(images(), OPTIONS, soon()) for _ in range(3)]
    jobs.append(queue.submit(images(6), OPTIONS, soon()))
    held.released.set()
    assert [len(job.result().predictions) for job in jobs] == [1, 1, 1, 6]
    assert held.batch_sizes == [1, 4, 4, 1]
    sample = metrics.registry.get_sample_value
    assert (sample("showtell_batch_images_count"), sample("showtell_batch_images_sum")) == (4, 10)
    assert sample("showtell_queue_seconds_count") == 5
    assert sample("showtell_queue_depth") == 0


def test_the_predictions_of_a_split_request_are_joined_in_order(captioner: Captioner, queue_of: QueueOf) -> None:
    random = np.random.default_rng(6)
    pictures = random.integers(0, 256, (4, 7, 7, 3), np.uint8).repeat(32, axis=1).repeat(32, axis=2)
    queue = queue_of(captioner, batch=3)
    found = queue.submit(np.concatenate([pictures, pictures[::-1]]), OPTIONS, soon()).result().predictions
    assert [p.captions for p in found] == [p.captions for p in captioner.predict(
        np.concatenate([pictures, pictures[::-1]]), search=OPTIONS.search
    )]  # fmt: skip


def test_images_that_want_another_search_are_not_worked_on_together(
    waiting_behind_one: QueueOf, held: HeldCaptioner
) -> None:
    queue = waiting_behind_one()
    wider = PredictOptions(search=Search(beam_size=5), captions=3, classes=2)
    jobs = [queue.submit(images(2), options, soon()) for options in (OPTIONS, OPTIONS, wider, OPTIONS)]
    held.released.set()
    assert [len(job.result().predictions) for job in jobs] == [2, 2, 2, 2]
    assert held.batch_sizes == [1, 4, 2, 2]
    assert [search.beam_size for search in held.searches] == [1, 1, 5, 1]


def test_each_request_of_a_batch_gets_as_many_captions_and_classes_as_it_asked_for(
    inference: InferenceQueue, queue_of: QueueOf
) -> None:
    queue = queue_of()
    wishes = [PredictOptions(search=Search(beam_size=3), captions=count, classes=count + 1) for count in (1, 3, 2)]
    jobs = [queue.submit(images(), wish, soon()) for wish in wishes]
    queue.serve(inference.captioner)
    found = [job.result().predictions[0] for job in jobs]
    assert [(len(p.captions), len(p.classes)) for p in found] == [(1, 2), (3, 4), (2, 3)]


def test_a_job_whose_deadline_passes_in_a_batch_does_not_hurt_the_others(
    waiting_behind_one: QueueOf, held: HeldCaptioner
) -> None:
    queue = waiting_behind_one()
    late = queue.submit(images(2), OPTIONS, time.monotonic())
    good = queue.submit(images(2), OPTIONS, soon())
    with pytest.raises(DeadlineExceededError):
        late.result()
    held.released.set()
    assert len(good.result().predictions) == 2
    assert held.batch_sizes == [1, 2]


def test_a_deadline_is_looked_at_between_words(captioner: Captioner, queue_of: QueueOf) -> None:
    asked: list[Sequence[bool]] = []

    class Watched:
        """The real captioner, which notes what `wanted` says, and lets one deadline pass at the second word."""

        config = captioner.config
        classes = captioner.classes
        engine = "watched"

        def predict(self, images: Images, *, wanted: Wanted, **options: Any) -> list[Prediction]:
            def watched() -> Sequence[bool]:
                if asked:
                    jobs[0].deadline = time.monotonic() - 1
                asked.append(wanted())
                return asked[-1]

            return captioner.predict(images, wanted=watched, **options)

    queue = queue_of()
    jobs: list[Job] = [queue.submit(images(), OPTIONS, soon()) for _ in range(2)]
    queue.serve(Watched())
    assert len(jobs[1].result().predictions[0].captions) == 1
    assert asked[:2] == [[True, True], [False, True]]
    with pytest.raises(DeadlineExceededError):
        jobs[0].result()


def test_an_error_of_one_request_in_a_batch_reaches_that_one_alone(
    waiting_behind_one: QueueOf, held: HeldCaptioner
) -> None:
    queue = waiting_behind_one()
    held.poison = 13
    bad = np.full((1, 224, 224, 3), held.poison, np.uint8)
    jobs = [queue.submit(pictures, OPTIONS, soon()) for pictures in (images(2), bad, images())]
    held.released.set()
    with pytest.raises(ZeroDivisionError):
        jobs[1].result()
    assert [len(jobs[index].result().predictions) for index in (0, 2)] == [2, 1]


def test_an_image_alone_never_waits_for_others(queue_of: QueueOf, held: HeldCaptioner) -> None:
    held.released.set()
    queue = queue_of(held, wait=1000)
    for _ in range(3):
        assert len(queue.submit(images(), OPTIONS, soon()).result().predictions) == 1
    assert held.batch_sizes == [1, 1, 1]


def test_under_traffic_images_wait_until_the_batch_is_full(waiting_behind_one: QueueOf, held: HeldCaptioner) -> None:
    queue = waiting_behind_one(batch=4, wait=1000)
    jobs = [queue.submit(images(), OPTIONS, soon()) for _ in range(2)]
    held.released.set()
    jobs += [queue.submit(images(), OPTIONS, soon()) for _ in range(2)]
    assert [len(job.result().predictions) for job in jobs] == [1, 1, 1, 1]
    assert held.batch_sizes == [1, 4]


def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits(
    waiting_behind_one: QueueOf, held: HeldCaptioner
) -> None:
    metrics = ServerMetrics()
    queue = waiting_behind_one(metrics=metrics, waiting=3)
    large = queue.submit(images(5), OPTIONS, soon())
    assert queue.is_full
    with pytest.raises(QueueFullError, match="at most 3 images may wait, and 5 wait already; try these 1 again"):
        queue.submit(images(), OPTIONS, soon())
    held.released.set()
    assert len(large.result().predictions) == 5


def test_an_error_reaches_only_the_job_that_caused_it(held_inference: InferenceQueue, held: HeldCaptioner) -> None:
    held.released.set()
    held.error = ZeroDivisionError("of this job")
    with pytest.raises(ZeroDivisionError, match="of this job"):
        held_inference.submit(images(), OPTIONS, soon()).result()
    held.error = None
    assert len(held_inference.submit(images(), OPTIONS, soon()).result().predictions) == 1


def test_a_queue_is_not_ready_before_it_has_a_captioner(queue_of: QueueOf, held: HeldCaptioner) -> None:
    queue = queue_of()
    with pytest.raises(NotReadyError, match="still loading"):
        _ = queue.captioner
    queue.serve(held)
    assert queue.captioner is held


def test_a_closed_queue_refuses_what_waits_and_what_comes_and_ends_its_thread(
    waiting_behind_one: QueueOf, held: HeldCaptioner
) -> None:
    before = threading.active_count()
    queue = waiting_behind_one()
    job = queue.submit(images(), OPTIONS, soon())
    closing = threading.Thread(target=queue.close)
    closing.start()
    held.released.set()
    closing.join(10)
    with pytest.raises(NotReadyError, match="shutting down"):
        job.result()
    with pytest.raises(NotReadyError, match="shutting down"):
        queue.submit(images(), OPTIONS, soon())
    assert threading.active_count() == before
