"""A limit on the time that one operation may take."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from model.errors import DataError

T = TypeVar("T")


def within(seconds: float | None, what: str, operation: Callable[[], T]) -> T:
    """Runs an operation, and waits no longer than its time.

    What TensorFlow is busy with cannot be interrupted: the operation runs in a thread of its own, which is left behind
    if its time is over. The process should end then.

    Args:
        seconds: The most time; None for no limit, and no thread.
        what: What it is, for the message.
        operation: What to run.

    Returns:
        Its result; what it raises is raised.

    Raises:
        DataError: It took longer.
    """
    if seconds is None:
        return operation()
    outcome: queue.Queue[tuple[bool, Any]] = queue.Queue(1)

    def run() -> None:
        try:
            outcome.put((True, operation()))
        except BaseException as error:  # noqa: BLE001 - raised again below
            outcome.put((False, error))

    thread = threading.Thread(target=run, daemon=True, name=what)
    thread.start()
    try:
        succeeded, result = outcome.get(timeout=seconds)
    except queue.Empty:
        raise DataError(
            f"expected {what} within {seconds:g} s, waited in vain; the last checkpoint stays. Look for what is stuck "
            "(a disk, a GPU, a service, another worker), or give a longer --operation-timeout-seconds"
        ) from None
    thread.join()  # so that its frame, which an error's traceback has, can be cleared
    if not succeeded:
        raise result
    result_of_type: T = result
    return result_of_type


class TimedBatches:
    """Batches that are waited for no longer than their time.

    Args:
        batches: A distributed dataset.
        seconds: The longest wait for one of them.

    Attributes:
        element_spec: That of the dataset.
    """

    def __init__(self, batches: Any, seconds: float) -> None:
        self.element_spec = batches.element_spec
        self._batches = batches
        self._seconds = seconds

    def __iter__(self) -> Iterator[Any]:
        """Yields the batches."""
        iterator = iter(self._batches)
        missing = object()
        while (batch := within(self._seconds, "a batch", lambda: next(iterator, missing))) is not missing:
            yield batch
