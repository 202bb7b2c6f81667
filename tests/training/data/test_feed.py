"""The end of a dataset's iterator, while its threads still need Python."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from training.data.feed import Feed


def counted(release: threading.Event, entered: threading.Event) -> tf.data.Dataset:
    """Returns a dataset of which the fourth value is not there before it is released."""

    def value(number: int) -> np.int64:
        if number == 3:
            entered.set()
            release.wait()
        return np.int64(number)

    return tf.data.Dataset.range(100).map(
        lambda number: tf.numpy_function(value, [number], tf.int64), num_parallel_calls=2
    )


def test_a_feed_yields_what_the_dataset_has() -> None:
    with Feed(tf.data.Dataset.range(4)) as feed:
        assert [int(value) for value in feed] == [0, 1, 2, 3]
    assert feed.close()


def test_the_end_of_a_feed_does_not_wait_for_python_code_that_waits_itself() -> None:
    release = threading.Event()
    entered = threading.Event()
    with Feed(counted(release, entered)) as feed:
        assert [int(next(feed)) for _ in range(2)] == [0, 1]
        assert entered.wait(30)
    # The thread that ends it is still there; it ends when the code does.
    (ending,) = [thread for thread in threading.enumerate() if thread.name == "end of a feed"]
    assert ending.daemon
    release.set()
    ending.join(30)
    assert not ending.is_alive()


def test_an_error_of_the_dataset_does_not_keep_its_iterator_alive() -> None:
    def broken(number: int) -> np.int64:
        if number == 1:
            raise ValueError("there is no such number")
        return np.int64(number)

    dataset = tf.data.Dataset.range(9).map(lambda n: tf.numpy_function(broken, [n], tf.int64), num_parallel_calls=2)
    feed = Feed(dataset)
    next(feed)
    with pytest.raises(tf.errors.OpError, match="there is no such number") as caught:
        next(feed)
    assert feed.close()
    frames = []
    place = caught.value.__traceback__
    while place is not None:
        frames.append(place.tb_frame)
        place = place.tb_next
    assert not [
        name for frame in frames for name, held in frame.f_locals.items() if type(held).__name__ == "OwnedIterator"
    ]
