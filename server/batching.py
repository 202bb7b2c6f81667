"""The queue of images in front of the captioners, and the threads that call them."""

import collections
import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from model.bundle import ClassName
from model.captioner import Prediction
from model.config import CaptionerConfig
from model.options import Search
from model.search import Wanted
from server.errors import NotReadyError, QueueFullError
from server.jobs import Job, PredictOptions
from server.metrics import ServerMetrics

_CLOSE_SECONDS = 2.0


class Predictor(Protocol):
    """What the queue needs of a captioner; see `model.captioner.Captioner`."""

    @property
    def config(self) -> CaptionerConfig:
        """Architecture and search defaults."""

    @property
    def engine(self) -> str:
        """Name of the engine that runs the networks."""

    @property
    def classes(self) -> tuple[ClassName, ...]:
        """Names of the encoder's classes."""

    def predict(
        self,
        images: npt.NDArray[np.uint8],
        *,
        search: Search,
        captions: int,
        classes: int,
        wanted: Wanted,
        explain: bool,
    ) -> list[Prediction]:
        """Captions and classifies a batch of images; called in the inference thread alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """Limits of the queue and of a batch.

    Attributes:
        max_waiting: Most images that wait, those being worked on not counted.
        max_batch: Most images worked on at once.
        max_wait_seconds: How long images wait for others to join them while there is traffic; a lone request never
            waits.
    """

    max_waiting: int
    max_batch: int
    max_wait_seconds: float


class _Item(NamedTuple):
    """One image of a job."""

    job: Job
    position: int


class InferenceQueue:
    """A bounded queue of images and the threads that work on them, batch after batch: one for each replica.

    A batch is a free replica's share of what waits: images of any requests, in order, as long as they want the same
    search, and all or none are to be explained. An image alone is worked on at once.

    Args:
        limits: How much may wait and be put together.
        metrics: Counts batches and waiting times.
    """

    def __init__(self, limits: BatchLimits, metrics: ServerMetrics) -> None:
        self._replicas: tuple[Predictor, ...] = ()
        self._limits = limits
        self._metrics = metrics
        self._items: collections.deque[_Item] = collections.deque()
        self._changed = threading.Condition()
        self._batches: dict[int, list[_Item]] = {}
        """What each thread works on."""
        self._threads: list[threading.Thread] = []
        self._is_closed = False
        self._generation = 0
        metrics.queue_depth.set_function(lambda: len(self._items))
        metrics.inference_oldest_seconds.set_function(lambda: self.oldest_seconds)
        metrics.replicas.set_function(lambda: len(self._replicas))

    def serve(self, *replicas: Predictor) -> None:
        """Uses other captioners from the next batches on; until there are first ones, images wait.

        Args:
            replicas: Captioners that answer alike. Each is called in a thread of its own, so that all work at once.
        """
        with self._changed:
            if self._is_closed:
                return
            self._replicas = replicas
            self._generation += 1
            # Daemons: a process that must end does not wait for a batch that nobody wants.
            self._threads = [thread for thread in self._threads if thread.is_alive()] + [
                threading.Thread(target=self._run, args=(replica, self._generation), name="inference", daemon=True)
                for replica in replicas
            ]
            for thread in self._threads[-len(replicas) :]:
                thread.start()
            self._changed.notify_all()

    def close(self) -> None:
        """Refuses waiting and new images, and ends the threads after their current batches."""
        with self._changed:
            self._is_closed = True
            waiting = list(self._items)
            self._items.clear()
            self._changed.notify_all()
        for item in waiting:
            item.job.fail(_closed())
        end = time.monotonic() + _CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    @property
    def captioner(self) -> Predictor:
        """Returns a captioner in use, for its properties; predictions come from `submit`.

        Raises:
            NotReadyError: None is loaded yet.
        """
        if not self._replicas:
            raise NotReadyError("the captioner is still loading; try again in a few seconds")
        return self._replicas[0]

    @property
    def generation(self) -> int:
        """Returns how many captioners have served; what is submitted now is predicted by this one or a later one."""
        return self._generation

    @property
    def oldest_seconds(self) -> float:
        """Returns the age of the oldest image that waits or is worked on, in seconds; 0 if there is none."""
        with self._changed:
            working = itertools.chain.from_iterable(self._batches.values())
            submitted = [item.job.submitted for item in itertools.chain(working, self._items)]
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
            NotReadyError: The queue is closed.
        """
        job = Job(images, options, deadline)
        with self._changed:
            if self._is_closed:
                raise _closed()
            # A request with more images than the queue holds is taken when nothing else waits.
            if self._items and len(self._items) + len(images) > self._limits.max_waiting:
                raise QueueFullError(
                    f"at most {self._limits.max_waiting} images may wait, and {len(self._items)} wait already; "
                    f"try these {len(images)} again in a second"
                )
            self._items.extend(_Item(job, index) for index in range(len(images)))
            self._changed.notify_all()
        return job

    def _run(self, captioner: Predictor, generation: int) -> None:
        while (batch := self._next_batch(generation)) is not None:
            self._work(captioner, batch)
            with self._changed:
                del self._batches[threading.get_ident()]

    def _next_batch(self, generation: int) -> list[_Item] | None:
        """Waits for images; returns None when others serve in its place, or the queue is closed."""

        def is_over() -> bool:
            return self._is_closed or self._generation != generation

        with self._changed:
            self._changed.wait_for(lambda: is_over() or self._items)
            if 1 < len(self._items) < self._limits.max_batch:
                self._changed.wait_for(
                    lambda: is_over() or len(self._items) >= self._limits.max_batch, self._limits.max_wait_seconds
                )
            if is_over():
                return None
            batch = self._take_batch()
            self._batches[threading.get_ident()] = batch
            return batch

    def _take_batch(self) -> list[_Item]:
        """Takes images that are still wanted and go together; called with the lock held."""
        # Who takes all leaves nothing to the others, though they are done sooner together.
        most = min(self._limits.max_batch, -(-len(self._items) // len(self._replicas)))
        batch: list[_Item] = []
        while self._items and len(batch) < most:
            if batch and self._items[0].job.options.batch_key != batch[0].job.options.batch_key:
                break
            item = self._items.popleft()
            if item.job.is_wanted:
                batch.append(item)
        return batch

    def _work(self, captioner: Predictor, batch: list[_Item]) -> None:
        if not batch:
            return
        for item in batch:
            item.job.begin()
            if item.position == 0:
                self._metrics.queue_seconds.observe(item.job.queue_seconds)
        self._metrics.batch_images.observe(len(batch))
        self._answer(captioner, batch)

    def _answer(self, captioner: Predictor, batch: list[_Item]) -> None:
        try:
            predictions = self._predict(captioner, batch)
        except Exception as error:  # noqa: BLE001 - not swallowed: it is raised again where it is waited for
            jobs = list({id(item.job): item.job for item in batch}.values())
            if len(jobs) == 1:
                jobs[0].fail(error)
                return
            # Each is worked on alone, so that only the one at fault fails.
            for job in jobs:
                self._answer(captioner, [item for item in batch if item.job is job])
            return
        for item, prediction in zip(batch, predictions, strict=True):
            if item.job.is_wanted:
                item.job.put(item.position, prediction)

    def _predict(self, captioner: Predictor, batch: Sequence[_Item]) -> list[Prediction]:
        options = [item.job.options for item in batch]
        predictions = captioner.predict(
            np.stack([item.job.images[item.position] for item in batch]),
            search=options[0].search,
            captions=max(option.captions for option in options),
            classes=max(option.classes for option in options),
            wanted=lambda: [item.job.is_wanted for item in batch],
            explain=options[0].explain is not None,
        )
        return [
            prediction.first(option.captions, option.classes)
            for prediction, option in zip(predictions, options, strict=True)
        ]


def _closed() -> NotReadyError:
    return NotReadyError("the server is shutting down; send the request to another instance")
