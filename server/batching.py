"""One thread that owns the captioner, fed by a bounded queue of images: nothing else ever calls it."""

import collections
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.captioner import Captioner, Prediction
from server.errors import DeadlineExceededError, NotReadyError, QueueFullError
from server.metrics import Metrics

_logger = logging.getLogger("server")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """Says what is wanted for every image of a request; see `Captioner.predict`."""

    beam_size: int
    captions: int
    classes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """Says how images of several requests are put together.

    Attributes:
        max_waiting: Most images that wait, those being worked on not counted.
        max_batch: Most images worked on at once.
        max_wait_seconds: How long images wait for others to join them while there is traffic; a lone request never
            waits.
    """

    max_waiting: int
    max_batch: int
    max_wait_seconds: float


class Answer(NamedTuple):
    """Holds the predictions of one job, in the order of its images, and how long its first one waited, in seconds."""

    predictions: list[Prediction]
    queue_seconds: float


class Job:
    """Holds the images of one request while they wait and while they are worked on, in one batch or several.

    Args:
        images: Shape (B, 224, 224, 3), uint8.
        options: What is wanted for every image.
        deadline: Value of `time.monotonic()` after which nobody waits for the answer.
    """

    def __init__(self, images: npt.NDArray[np.uint8], options: PredictOptions, deadline: float) -> None:
        self.images, self.options, self.deadline = images, options, deadline
        self.submitted = time.monotonic()
        self._started: float | None = None
        self._predictions: dict[int, Prediction] = {}
        self._answer: Future[Answer] = Future()

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
            message = "expected an answer before the deadline, there was none; try again later"
            raise DeadlineExceededError(message) from error

    def begin(self) -> None:
        """Notes that work on an image begins; called in the inference thread."""
        if self._started is None:
            self._started = time.monotonic()

    def put(self, index: int, prediction: Prediction) -> None:
        """Adds the prediction of one image, and answers with the last one; called in the inference thread."""
        self._predictions[index] = prediction
        if len(self._predictions) == len(self.images) and self._started is not None:
            ordered = [self._predictions[number] for number in range(len(self.images))]
            self._settle(lambda: self._answer.set_result(Answer(ordered, self.queue_seconds)))

    def fail(self, error: Exception) -> None:
        """Answers with an error; called in the inference thread."""
        self._settle(lambda: self._answer.set_exception(error))

    @property
    def queue_seconds(self) -> float:
        """Returns how long the first image waited, or has waited so far."""
        return (time.monotonic() if self._started is None else self._started) - self.submitted

    def _settle(self, settle: Callable[[], None]) -> None:
        # From here on nobody can cancel it; False says that somebody has.
        if not self._answer.done() and self._answer.set_running_or_notify_cancel():
            settle()


class _Item(NamedTuple):
    """Is one image of a job."""

    job: Job
    position: int


class InferenceQueue:
    """Loads a captioner in a thread of its own, which then works on batch after batch.

    A batch is what waits when the one before is done: images of any requests, in order, as long as they want the same
    beam size. An image alone is worked on at once.

    Args:
        load: Loads the captioner; called in that thread, and in another for each reload.
        limits: How much may wait and be put together.
        metrics: Counts batches and waiting times.
    """

    def __init__(self, load: Callable[[], Captioner], limits: BatchLimits, metrics: Metrics) -> None:
        self.loading: Future[Captioner] = Future()
        """Settles when the captioner is loaded, or with the error that prevents it."""
        self._load = load
        self._captioner: Captioner | None = None
        self._reloading = threading.Lock()
        self._limits, self._metrics = limits, metrics
        self._items: collections.deque[_Item] = collections.deque()
        self._changed = threading.Condition()
        self._batch: list[_Item] = []
        metrics.queue_depth.set_function(lambda: len(self._items))
        metrics.inference_oldest_seconds.set_function(lambda: self.oldest_seconds)
        # A daemon: a process that is told to stop must not wait for a captioner that is still loading.
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        """Begins to load the captioner, and returns at once."""
        self._thread.start()

    def reload(self) -> None:
        """Loads another captioner beside this one, and puts it in its place where that succeeds; returns at once."""
        threading.Thread(target=self._reload, name="reload", daemon=True).start()

    def _reload(self) -> None:
        with self._reloading:
            if self.loading.exception() is not None:  # waits: the first must not come after this one, and serve on
                return
            try:
                captioner = self._load()
            except Exception:  # whatever it is, what serves now goes on
                self._metrics.reloads.labels("refused").inc()
                _logger.exception("the new bundle is refused, the old one goes on")
                return
            self._serve(captioner)
            self._metrics.reloads.labels("done").inc()

    def _serve(self, captioner: Captioner) -> None:
        self._captioner = captioner
        config = captioner.config
        self._metrics.model.info({"name": config.name, "version": config.version, "engine": captioner.engine})
        _logger.info("serving %s %s with %s", config.name, config.version, captioner.engine)

    @property
    def captioner(self) -> Captioner:
        """Returns the captioner, to be asked what it is; `submit` is the way to its predictions.

        Raises:
            NotReadyError: It is not loaded.
        """
        if self._captioner is None:
            raise NotReadyError("expected a loaded captioner, it is still being loaded; try again in a few seconds")
        return self._captioner

    @property
    def oldest_seconds(self) -> float:
        """Returns how long the oldest image has been here, waiting or worked on, in seconds; 0 where there is none."""
        with self._changed:
            submitted = [item.job.submitted for item in (*self._batch, *self._items)]
        return time.monotonic() - min(submitted) if submitted else 0.0

    @property
    def is_full(self) -> bool:
        """Returns whether the next job would be refused."""
        return len(self._items) >= self._limits.max_waiting

    def submit(self, images: npt.NDArray[np.uint8], options: PredictOptions, deadline: float) -> Job:
        """Queues the images of one request.

        Args:
            images: RGB from `model.image.read_image`. Shape (B, 224, 224, 3), uint8, B at least 1.
            options: What is wanted for every image.
            deadline: Value of `time.monotonic()` after which nobody waits for the answer.

        Returns:
            The job, whose `result` waits for the answer.

        Raises:
            QueueFullError: There is no room for all of them.
        """
        job = Job(images, options, deadline)
        with self._changed:
            # A request with more images than the queue holds is taken when nothing else waits.
            if self._items and len(self._items) + len(images) > self._limits.max_waiting:
                raise QueueFullError(
                    f"expected at most {self._limits.max_waiting} waiting images, there are {len(self._items)} before "
                    f"these {len(images)}; try again in a second"
                )
            self._items.extend(_Item(job, index) for index in range(len(images)))
            self._changed.notify()
        return job

    def _run(self) -> None:
        try:
            captioner = self._load()
        except Exception as error:  # noqa: BLE001 - not swallowed: it is raised again where it is waited for
            self.loading.set_exception(error)
            return
        self._serve(captioner)
        self.loading.set_result(captioner)
        while True:
            batch = self._next_batch()
            self._work(self.captioner, batch)
            self._batch = []

    def _next_batch(self) -> list[_Item]:
        limits = self._limits
        with self._changed:
            self._changed.wait_for(lambda: self._items)
            if 1 < len(self._items) < limits.max_batch:
                self._changed.wait_for(lambda: len(self._items) >= limits.max_batch, limits.max_wait_seconds)
            batch: list[_Item] = []
            while self._items and len(batch) < limits.max_batch:
                if batch and self._items[0].job.options.beam_size != batch[0].job.options.beam_size:
                    break
                item = self._items.popleft()
                if item.job.is_wanted:
                    batch.append(item)
            self._batch = batch
        return batch

    def _work(self, captioner: Captioner, batch: list[_Item]) -> None:
        if not batch:
            return
        for item in batch:
            item.job.begin()
            if item.position == 0:
                self._metrics.queue_seconds.observe(item.job.queue_seconds)
        self._metrics.batch_images.observe(len(batch))
        self._answer(captioner, batch)

    def _answer(self, captioner: Captioner, batch: list[_Item]) -> None:
        try:
            predictions = self._predict(captioner, batch)
        except Exception as error:  # noqa: BLE001 - not swallowed: it is raised again where it is waited for
            jobs = list({id(item.job): item.job for item in batch}.values())
            if len(jobs) == 1:
                jobs[0].fail(error)
                return
            # Whose fault it is shows when each is worked on alone; the others must not suffer for it.
            for job in jobs:
                self._answer(captioner, [item for item in batch if item.job is job])
            return
        for item, prediction in zip(batch, predictions, strict=True):
            if item.job.is_wanted:
                item.job.put(item.position, prediction)

    def _predict(self, captioner: Captioner, batch: Sequence[_Item]) -> list[Prediction]:
        options = [item.job.options for item in batch]
        predictions = captioner.predict(
            np.stack([item.job.images[item.position] for item in batch]),
            beam_size=options[0].beam_size,
            captions=max(option.captions for option in options),
            classes=max(option.classes for option in options),
            wanted=lambda: [item.job.is_wanted for item in batch],
        )
        return [
            replace(
                prediction,
                captions=prediction.captions[: option.captions],
                classes=prediction.classes[: option.classes],
            )
            for prediction, option in zip(predictions, options, strict=True)
        ]
