"""A request's images while they wait and while they are worked on, and the answer to them."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from model.captioner import Prediction
from model.options import Search
from server.errors import DeadlineExceededError

Explain = Literal["png", "values"]
"""The form of maps that explain words and classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """What is wanted for every image of a request; see `Captioner.predict`.

    Attributes:
        search: How captions are searched.
        captions: Captions for each image.
        classes: Classes for each image.
        explain: The form of maps for words and classes; None for no maps.
        may_be_kept: Whether the answer may be given again to the same question; not where chance decides,
            nor with maps, which are large.
    """

    search: Search
    captions: int
    classes: int
    explain: Explain | None = None
    may_be_kept: bool = True

    @property
    def batch_key(self) -> tuple[Search, bool]:
        """Returns what images must have in common to be worked on as one batch."""
        return self.search, self.explain is not None


class Answer(NamedTuple):
    """The predictions of one job, in the order of its images, and how long its first image waited, in seconds."""

    predictions: list[Prediction]
    queue_seconds: float


class Job:
    """The images of one request while they wait and while they are worked on, in batches of one or more threads.

    Args:
        images: Shape (B, 224, 224, 3), uint8.
        options: What is wanted for every image.
        deadline: Value of `time.monotonic()` after which nobody waits for the answer.
    """

    def __init__(self, images: npt.NDArray[np.uint8], options: PredictOptions, deadline: float) -> None:
        self.images = images
        self.options = options
        self.deadline = deadline
        self.submitted = time.monotonic()
        self._started: float | None = None
        self._predictions: dict[int, Prediction] = {}
        self._answer: Future[Answer] = Future()
        self._lock = threading.Lock()

    @property
    def is_wanted(self) -> bool:
        """Returns whether anyone still waits for the answer."""
        return not self._answer.done() and time.monotonic() <= self.deadline

    def result(self) -> Answer:
        """Waits for the answer, at most until the deadline.

        Returns:
            The answer.

        Raises:
            DeadlineExceededError: There was none in time; what is not yet worked on never will be.
            Exception: Whatever the captioner raised for this job.
        """
        try:
            return self._answer.result(max(0.0, self.deadline - time.monotonic()))
        except TimeoutError as error:
            self._answer.cancel()
            message = "the photo was not captioned before the deadline; try again later"
            raise DeadlineExceededError(message) from error

    def begin(self) -> None:
        """Notes that work on the job begins; called in an inference thread."""
        with self._lock:
            if self._started is None:
                self._started = time.monotonic()

    def put(self, index: int, prediction: Prediction) -> None:
        """Adds the prediction of one image; the last one completes the answer. Called in an inference thread."""
        with self._lock:
            self._predictions[index] = prediction
            if len(self._predictions) == len(self.images) and self._started is not None:
                ordered = [self._predictions[number] for number in range(len(self.images))]
                self._settle(lambda: self._answer.set_result(Answer(ordered, self.queue_seconds)))

    def fail(self, error: Exception) -> None:
        """Answers with an error; the first one counts."""
        with self._lock:
            self._settle(lambda: self._answer.set_exception(error))

    @property
    def queue_seconds(self) -> float:
        """Returns how long the first image waited, or has waited so far."""
        return (time.monotonic() if self._started is None else self._started) - self.submitted

    def _settle(self, settle: Callable[[], None]) -> None:
        # False if the request has cancelled it; from here on it cannot.
        if not self._answer.done() and self._answer.set_running_or_notify_cancel():
            settle()
