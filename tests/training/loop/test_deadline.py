"""A limit on what an operation may take."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from model.errors import DataError
from tests.training.stages import replicas_of
from training.data.pipeline import Share
from training.loop.deadline import within


@pytest.fixture
def stuck() -> Iterator[threading.Event]:
    """Returns an event that nobody sets before the test is over."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("seconds", [None, 30])
def test_a_result_is_returned_and_an_error_raised(seconds: float | None) -> None:
    assert within(seconds, "a sum", lambda: 1 + 1) == 2
    with pytest.raises(ZeroDivisionError):
        within(seconds, "a quotient", lambda: 1 / 0)


def test_what_takes_longer_is_named(stuck: threading.Event) -> None:
    with pytest.raises(DataError, match=r"expected step 7 within 0\.05 s.*--operation-timeout-seconds"):
        within(0.05, "step 7", stuck.wait)


@pytest.mark.parametrize("replicas", [1, 2])
def test_batches_are_the_same_with_a_limit(replicas: int) -> None:
    def shuffled(share: Share) -> tf.data.Dataset:
        return share(tf.data.Dataset.from_tensor_slices(np.arange(8)).shuffle(8, seed=1).batch(4))

    free, limited = (
        [value.numpy().tolist() for batch in found.distribute(shuffled)
         for value in found.strategy.experimental_local_results(batch)]
        for found in (replicas_of(replicas), replicas_of(replicas, operation_timeout_seconds=60))
    )  # fmt: skip
    assert limited == free != []


def test_a_pipeline_that_cannot_be_built_ends_the_wait(stuck: threading.Event) -> None:
    def asks(_share: Share) -> tf.data.Dataset:
        stuck.wait()
        return tf.data.Dataset.range(1)

    with pytest.raises(DataError, match="expected a pipeline of batches within 1 s"):
        replicas_of(1, operation_timeout_seconds=1).distribute(asks)


def test_a_batch_that_does_not_come_ends_the_wait(stuck: threading.Event) -> None:
    def endless() -> Iterator[int]:
        yield 1
        stuck.wait()

    data = tf.data.Dataset.from_generator(endless, output_signature=tf.TensorSpec((), tf.int32)).batch(1)
    batches = iter(replicas_of(1, operation_timeout_seconds=2).distribute(lambda share: share(data)))
    assert next(batches).numpy().tolist() == [1]
    with pytest.raises(DataError, match="expected a batch within 2 s"):
        next(batches)
