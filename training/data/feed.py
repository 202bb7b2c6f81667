"""Iteration over `tf.data` datasets that ends within seconds, whatever their threads still do."""

import threading
import traceback
from collections.abc import Iterable, Iterator
from typing import Any, Self

import tensorflow as tf

GRACE_SECONDS = 3.0
"""How long the end of an iterator is waited for."""


class Feed(Iterator[Any]):
    """An iterator over a dataset, of which the owner says when it ends.

    Destroying TensorFlow's iterator waits for the dataset's threads: for a minute or two where its autotuner sleeps,
    and for ever where they need Python in an interpreter that is being taken down. So it is destroyed by a thread, and
    is not waited for longer than `GRACE_SECONDS`. Use as a context manager; save first what must be saved.

    Args:
        batches: The dataset, or what a strategy made of it.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        self._held = [iter(batches)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __next__(self) -> Any:
        try:
            return next(self._held[0])
        except tf.errors.OpError as error:
            # They hold the iterator for as long as the error is known to anyone.
            traceback.clear_frames(error.__traceback__)
            raise

    def close(self) -> bool:
        """Destroys the iterator; returns whether that is done, and not left to the thread."""
        ending = threading.Thread(target=self._held.clear, daemon=True, name="end of a feed")
        ending.start()
        ending.join(GRACE_SECONDS)
        return not ending.is_alive()
