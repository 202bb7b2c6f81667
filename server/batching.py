"""One thread that owns the captioner, fed by a bounded queue: nothing else ever calls it."""

import concurrent.futures
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from model.captioner import Captioner, Prediction
from model.errors import DeadlineExceededError
from server.errors import NotReadyError, QueueFullError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """Says what is wanted for every image of a request; see `Captioner.predict`."""

    beam_size: int
    captions: int
    classes: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Holds the predictions of one job, in the order of its images, and how long it waited, in seconds."""

    predictions: list[Prediction]
    queue_seconds: float


@dataclass(frozen=True, slots=True)
class Job:
    """Holds the images of one request while they wait and while they are worked on.

    Attributes:
        images: Shape (B, 224, 224, 3), uint8.
        options: What is wanted for every image.
        deadline: Value of `time.monotonic()` after which nobody waits for the answer.
        submitted: Value of `time.monotonic()` when it was queued.
    """

    images: npt.NDArray[np.uint8]
    options: PredictOptions
    deadline: float
    submitted: float = field(default_factory=time.monotonic)
    _answer: "Future[Answer]" = field(default_factory=Future)

    def result(self) -> Answer:
        """Waits for the answer, at most until the deadline.

        Returns:
            The answer.

        Raises:
            DeadlineExceededError: There was none in time; a job that has not been started never will be.
            Exception: Whatever the captioner raised for this job.
        """
        timeout = max(0.0, self.deadline - time.monotonic())
        concurrent.futures.wait([self._answer], timeout)
        if not self._answer.done():
            self._answer.cancel()
            raise DeadlineExceededError("expected an answer before the deadline, there was none; try again later")
        return self._answer.result()

    def run(self, captioner: Captioner) -> None:
        """Works on the job, unless nobody waits for it any longer."""
        if self._answer.set_running_or_notify_cancel():
            _settle(self._answer, lambda: self._predict(captioner))

    def _predict(self, captioner: Captioner) -> Answer:
        queue_seconds = time.monotonic() - self.submitted
        predictions = captioner.predict(
            self.images,
            beam_size=self.options.beam_size,
            captions=self.options.captions,
            classes=self.options.classes,
            deadline=self.deadline,
        )
        return Answer(predictions, queue_seconds)


class InferenceQueue:
    """Loads a captioner in a thread of its own, which then works on one job after the other.

    Args:
        load: Loads the captioner; called once, in that thread.
        max_waiting: Most jobs that wait, the one being worked on not counted.
    """

    def __init__(self, load: Callable[[], Captioner], max_waiting: int) -> None:
        self.loading: Future[Captioner] = Future()
        """Settles when the captioner is loaded, or with the error that prevents it."""
        self._load = load
        self._jobs: queue.Queue[Job] = queue.Queue(max_waiting)
        # A daemon: a process that is told to stop must not wait for a captioner that is still loading.
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        """Begins to load the captioner, and returns at once."""
        self._thread.start()

    @property
    def captioner(self) -> Captioner:
        """Returns the captioner, to be asked what it is; `submit` is the way to its predictions.

        Raises:
            NotReadyError: It is not loaded.
        """
        if not self.loading.done() or self.loading.exception() is not None:
            raise NotReadyError("expected a loaded captioner, it is still being loaded; try again in a few seconds")
        return self.loading.result()

    @property
    def is_full(self) -> bool:
        """Returns whether the next job would be refused."""
        return self._jobs.full()

    def submit(self, images: npt.NDArray[np.uint8], options: PredictOptions, deadline: float) -> Job:
        """Queues the images of one request.

        Args:
            images: RGB from `model.image.read_image`. Shape (B, 224, 224, 3), uint8.
            options: What is wanted for every image.
            deadline: Value of `time.monotonic()` after which nobody waits for the answer.

        Returns:
            The job, whose `result` waits for the answer.

        Raises:
            QueueFullError: As many jobs are waiting as the queue holds.
        """
        job = Job(images, options, deadline)
        try:
            self._jobs.put_nowait(job)
        except queue.Full as error:
            message = (
                f"expected at most {self._jobs.maxsize} waiting requests, there are as many; try again in a second"
            )
            raise QueueFullError(message) from error
        return job

    def _run(self) -> None:
        _settle(self.loading, self._load)
        while self.loading.exception() is None:
            self._jobs.get().run(self.loading.result())


def _settle(future: "Future[T]", function: Callable[[], T]) -> None:
    """Puts what `function` returns or raises into `future`."""
    try:
        result = function()
    except Exception as error:  # noqa: BLE001 - not swallowed: it is raised again in the thread that waits for it
        future.set_exception(error)
    else:
        future.set_result(result)
