"""The one way from a request to predictions, whatever its protocol: the same limits, queue and deadline for all.

A protocol parses a request into `Asked`, calls `CaptionService.answer`, and serialises the results.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from flask import Request

from model.captioner import Prediction
from model.errors import ImageError
from model.image import DecodedImage
from server.batching import InferenceQueue, Predictor
from server.bodies import is_coded
from server.caching import CALLER, AnswerCache, Place
from server.decoding.pool import DecodingPool
from server.errors import DeadlineExceededError, NotReadyError, QueueFullError
from server.jobs import Explain, PredictOptions
from server.receiving import BodyMemory
from server.settings import ServerSettings
from server.sockets import begin_arrival, has_arrived, wait_outside


class Asked(NamedTuple):
    """A request's images, as files in memory, and what is wanted for each of them."""

    images: list[bytes]
    options: PredictOptions


@dataclass(frozen=True, slots=True)
class Answered:
    """One image's prediction, with the original's size and the time it took.

    Attributes:
        width: Of the upright original, in pixels.
        height: Of the upright original, in pixels.
        prediction: Captions and classes.
        read_seconds: Time to decode it.
        queue_seconds: Time that the request's first image waited for the captioner.
        explain: The form in which maps are wanted; None if none are.
    """

    width: int
    height: int
    prediction: Prediction
    read_seconds: float
    queue_seconds: float
    explain: Explain | None = None


class _Reading(NamedTuple):
    """A decoded image, how long that took, and where its answer is to be kept, if anywhere."""

    image: DecodedImage
    seconds: float
    place: Place | None


class CaptionService:
    """Reads, decodes and captions the images of requests.

    Args:
        settings: The limits.
        inference: Where images are captioned.
        decoding: Where they are decoded.
        draining: Set when the server begins to shut down.
        cache: Answers that were given before.
    """

    def __init__(
        self,
        settings: ServerSettings,
        inference: InferenceQueue,
        decoding: DecodingPool,
        draining: threading.Event,
        cache: AnswerCache[Answered],
    ) -> None:
        self._settings = settings
        self._inference = inference
        self._decoding = decoding
        self._draining = draining
        self._cache = cache
        # The rest of the threads are kept for requests whose bodies have arrived.
        self._bodies = BodyMemory(settings.max_body_bytes, max(1, settings.threads * 2 // 3))

    @property
    def captioner(self) -> Predictor:
        """Returns the captioner in use, for its properties.

        Raises:
            NotReadyError: None is loaded yet.
        """
        return self._inference.captioner

    def check(self) -> None:
        """Makes sure that a photo would be captioned now.

        Raises:
            NotReadyError: The captioner is not loaded, the server is shutting down, or waiting photos are stuck.
            QueueFullError: The queue is full.
        """
        if self._draining.is_set():
            raise NotReadyError("the server is shutting down; send the request to another instance")
        _ = self.captioner
        if self._inference.is_full:
            raise QueueFullError("the queue is full; try again in a second")
        self._decoding.check()
        limit = self._settings.deadline_seconds / 2
        for done, seconds in (
            ("decoded", self._decoding.oldest_seconds),
            ("captioned", self._inference.oldest_seconds),
        ):
            if seconds > limit:
                raise NotReadyError(
                    f"a photo has waited {seconds:.1f} s to be {done}, more than {limit:.1f} s; try again"
                )

    def answer(
        self, request: Request, parse: Callable[[], Asked], most_bytes: int | None = None
    ) -> list[Answered | ImageError]:
        """Captions every image of a request.

        Args:
            request: The request; its body must not have been read.
            parse: Reads the body; called when there is memory for it.
            most_bytes: Size of the largest body that it reads; None for the setting.

        Returns:
            One result per image, in order: a prediction, or the reason why this image could not be read.

        Raises:
            ImageError: The only image could not be read.
            CaptionerError: No image can be answered.
        """
        options, deadline, readings = self._receive(request, parse, most_bytes)
        if len(readings) == 1 and isinstance(readings[0], ImageError):
            raise readings[0]
        good = [item for item in readings if isinstance(item, _Reading)]
        answers = iter(self._predict(good, options, deadline))
        return [next(answers) if isinstance(item, _Reading) else item for item in readings]

    def _receive(
        self, request: Request, parse: Callable[[], Asked], most_bytes: int | None
    ) -> tuple[PredictOptions, float, list[_Reading | Answered | ImageError]]:
        """Reads the images and decodes those without an answer; returns the options and the deadline too."""
        wait_outside(request.environ)
        seconds = self._settings.deadline_seconds
        begun = time.monotonic()
        # A compressed body can become as large as any, however small it arrives.
        length = None if is_coded(request) else request.content_length
        has_room = has_arrived(request.environ) and length is not None
        with contextlib.nullcontext() if has_room else self._bodies.room(length, seconds, most_bytes):
            waited = time.monotonic() - begun
            begin_arrival(request.environ, self._settings.request_seconds)
            asked = parse()
            deadline = time.monotonic() + seconds - waited
            caller = request.environ.get(CALLER)
            generation = self._inference.generation
            places = (self._cache.place(data, asked.options, caller, generation) for data in asked.images)
            found = [self._find(data, place, deadline) for data, place in zip(asked.images, places, strict=True)]
            return asked.options, deadline, found

    def _find(self, data: bytes, place: Place | None, deadline: float) -> _Reading | Answered | ImageError:
        known = None if place is None else self._cache.get(place)
        return self._read(data, place, deadline) if known is None else known

    def _read(self, data: bytes, place: Place | None, deadline: float) -> _Reading | ImageError:
        started = time.monotonic()
        if started > deadline:
            raise DeadlineExceededError("the images were not decoded before the deadline; send fewer or smaller images")
        try:
            image = self._decoding.decode(data, deadline)
        except ImageError as error:
            return error
        return _Reading(image, time.monotonic() - started, place)

    def _predict(self, readings: list[_Reading], options: PredictOptions, deadline: float) -> list[Answered]:
        if not readings:
            return []
        images = np.stack([reading.image.pixels for reading in readings])  # (B, H, W, C)
        answer = self._inference.submit(images, options, deadline).result()
        answers = [
            Answered(
                reading.image.width,
                reading.image.height,
                prediction,
                reading.seconds,
                answer.queue_seconds,
                options.explain,
            )
            for reading, prediction in zip(readings, answer.predictions, strict=True)
        ]
        for reading, answered in zip(readings, answers, strict=True):
            if reading.place is not None:
                self._cache.put(reading.place, _given_again(answered))
        return answers


def _given_again(answered: Answered) -> Answered:
    """Returns an answer as it is when nothing is computed for it."""
    prediction = replace(answered.prediction, encode_seconds=0.0, search_seconds=0.0)
    return replace(answered, prediction=prediction, read_seconds=0.0, queue_seconds=0.0)
