"""The endpoints under /v1 and the health checks."""

import contextlib
import dataclasses
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from flask import Flask, request
from werkzeug.datastructures import MultiDict

from model.captioner import MAX_CLASSES, Caption, Prediction
from model.config import CaptionerConfig
from model.errors import ImageError
from model.image import FORMATS, MAX_SIDE_PIXELS, DecodedImage
from model.runtime.protocol import MAX_BEAM_SIZE
from server.batching import InferenceQueue, PredictOptions
from server.decoding.pool import DecodingPool
from server.errors import DeadlineExceededError, NotReadyError, ParameterError, QueueFullError
from server.problems import describe
from server.receiving import BodyMemory
from server.settings import ServerSettings
from server.sockets import begin_arrival, has_arrived, wait_outside
from server.uploads import read_uploads

PARAMETERS = ("beam_size", "captions", "classes")
DEFAULT_CAPTIONS = 3
DEFAULT_CLASSES = 5

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Reading:
    """Holds a decoded image and how long decoding took."""

    image: DecodedImage
    seconds: float


class Api:
    """Answers requests.

    Args:
        settings: The limits.
        inference: Where images are captioned.
        decoding: Where they are decoded.
        draining: Set when the server is about to stop.
    """

    def __init__(
        self, settings: ServerSettings, inference: InferenceQueue, decoding: DecodingPool, draining: threading.Event
    ) -> None:
        self._settings = settings
        self._draining = draining
        self._inference, self._decoding = inference, decoding
        # Some threads are kept for those whose bodies have arrived.
        self._bodies = BodyMemory(settings.max_body_bytes, max(1, settings.threads * 2 // 3))

    def register(self, app: Flask) -> None:
        """Adds the endpoints to `app`."""
        app.add_url_rule("/v1/predict", view_func=self.predict, methods=["POST"])
        app.add_url_rule("/v1/model", view_func=self.model)
        app.add_url_rule("/livez", view_func=self.livez)
        app.add_url_rule("/readyz", view_func=self.readyz)

    def predict(self) -> Json:
        """Captions and classifies every image of the request.

        Returns:
            The model's name and version, and one result per image in order: a prediction, or the problem of an
            image that could not be read among others that could.

        Raises:
            CaptionerError: No image can be answered.
        """
        # Ready and parameters first: they cost nothing, and a client in error need not send its body for it.
        config = self._inference.captioner.config
        options = parse_options(request.args, config)
        deadline, readings = self._receive()
        if len(readings) == 1 and isinstance(readings[0], ImageError):
            raise readings[0]
        predicted = iter(self._predict([item for item in readings if isinstance(item, _Reading)], options, deadline))
        results = [next(predicted) if isinstance(item, _Reading) else describe(item) for item in readings]
        return {"model": {"name": config.name, "version": config.version}, "results": results}

    def model(self) -> Json:
        """Describes what is loaded, and the limits that a client has to keep."""
        captioner, settings = self._inference.captioner, self._settings
        config = captioner.config
        return {
            "name": config.name,
            "version": config.version,
            "engine": captioner.engine,
            "architecture": {
                "encoder": {"name": "VGG-19", **dataclasses.asdict(config.encoder)},
                "decoder": {"name": "Show and Tell GRU", **dataclasses.asdict(config.decoder)},
            },
            "vocabulary_size": config.decoder.vocabulary_size,
            "classes": config.encoder.classes,
            "search": dataclasses.asdict(config.search),
            "scores": config.scores,
            "limits": {
                "body_bytes": settings.max_body_bytes,
                "image_pixels": settings.max_pixels,
                "image_side_pixels": MAX_SIDE_PIXELS,
                "image_formats": FORMATS,
                "images": settings.max_images,
                "beam_size": MAX_BEAM_SIZE,
                "classes": MAX_CLASSES,
                "deadline_seconds": settings.deadline_seconds,
            },
        }

    def livez(self) -> Json:
        """Says that the process answers."""
        return {"status": "alive"}

    def readyz(self) -> Json:
        """Says that a request would be answered now.

        Raises:
            NotReadyError: The captioner is not loaded, the server is about to stop, or what waits is not worked on.
            QueueFullError: The queue is full.
        """
        if self._draining.is_set():
            raise NotReadyError("expected a server that stays, this one is about to stop; try another one")
        _ = self._inference.captioner
        if self._inference.is_full:
            raise QueueFullError("expected room in the queue, it is full; try again in a second")
        self._decoding.check()
        limit = self._settings.deadline_seconds / 2
        for part, seconds in (
            ("decoded", self._decoding.oldest_seconds),
            ("captioned", self._inference.oldest_seconds),
        ):
            if seconds > limit:
                raise NotReadyError(f"expected every photo {part} within {limit:.1f} s, one waits for {seconds:.1f} s")
        return {"status": "ready"}

    def _receive(self) -> tuple[float, list[_Reading | ImageError]]:
        """Reads and decodes the images of the request; returns when it must be answered, and them."""
        wait_outside(request.environ)
        seconds, begun = self._settings.deadline_seconds, time.monotonic()
        has_room = has_arrived(request.environ)
        with contextlib.nullcontext() if has_room else self._bodies.room(request.content_length, seconds):
            waited = time.monotonic() - begun
            begin_arrival(request.environ, self._settings.request_seconds)
            uploads = read_uploads(request, self._settings)
            deadline = time.monotonic() + seconds - waited
            return deadline, [self._read(data, deadline) for data in uploads]

    def _read(self, data: bytes, deadline: float) -> _Reading | ImageError:
        started = time.monotonic()
        if started > deadline:
            raise DeadlineExceededError("expected all images read before the deadline; send fewer or smaller images")
        try:
            image = self._decoding.decode(data, deadline)
        except ImageError as error:
            return error
        return _Reading(image, time.monotonic() - started)

    def _predict(self, readings: list[_Reading], options: PredictOptions, deadline: float) -> list[Json]:
        if not readings:
            return []
        images = np.stack([reading.image.pixels for reading in readings])  # (B, H, W, C)
        answer = self._inference.submit(images, options, deadline).result()
        pairs = zip(readings, answer.predictions, strict=True)
        return [_result(reading, prediction, answer.queue_seconds) for reading, prediction in pairs]


def parse_options(arguments: "MultiDict[str, str]", config: CaptionerConfig) -> PredictOptions:
    """Reads the query parameters of a prediction.

    Args:
        arguments: `beam_size` 1 to 10, `captions` 1 to the beam size, `classes` 0 to 20; each at most once.
        config: Has the default beam size.

    Returns:
        The options, defaults filled in.

    Raises:
        ParameterError: A parameter is unknown, repeated or out of its range.
    """
    for name, values in arguments.lists():
        if name not in PARAMETERS:
            raise ParameterError(f"{name[:50]!r}: expected only {', '.join(PARAMETERS)}, received an unknown parameter")
        if len(values) > 1:
            raise ParameterError(f"{name}: expected it once, received it {len(values)} times")
    beam_size = _whole_number(arguments, "beam_size", 1, MAX_BEAM_SIZE, config.search.beam_size)
    return PredictOptions(
        beam_size=beam_size,
        captions=_whole_number(arguments, "captions", 1, beam_size, min(DEFAULT_CAPTIONS, beam_size), "the beam_size"),
        classes=_whole_number(arguments, "classes", 0, MAX_CLASSES, DEFAULT_CLASSES),
    )


def _whole_number(
    arguments: "MultiDict[str, str]", name: str, low: int, high: int, default: int, high_is: str = ""
) -> int:
    text = arguments.get(name)
    if text is None:
        return default
    # Stricter than int(), which takes "1_0", " 7" and other scripts' digits, and fails on very long numbers.
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else -1
    if not low <= value <= high:
        bound = f"{high} ({high_is})" if high_is else str(high)
        raise ParameterError(f"{name}: expected a whole number from {low} to {bound}, received {text[:50]!r}")
    return value


def _result(reading: _Reading, prediction: Prediction, queue_seconds: float) -> Json:
    return {
        "status": 200,
        "width": reading.image.width,
        "height": reading.image.height,
        "captions": [_caption(caption) for caption in prediction.captions],
        "classes": [
            {"id": item.id, "label": item.label, "probability": _rounded(item.probability)}
            for item in prediction.classes
        ],
        "timings_ms": {
            "read": _milliseconds(reading.seconds),
            "queue": _milliseconds(queue_seconds),
            "encode": _milliseconds(prediction.encode_seconds),
            "search": _milliseconds(prediction.search_seconds),
        },
    }


def _caption(caption: Caption) -> Json:
    return {
        "text": caption.text,
        # Rounding in an engine can take the logarithm of a certainty a little over 0.
        "log_probability": _rounded(min(caption.log_probability, 0.0)),
        "probability": _rounded(caption.probability),
        "words": [{"text": word.text, "probability": _rounded(word.probability)} for word in caption.words],
    }


def _rounded(value: float) -> float:
    """Keeps six significant digits, as many as float32 has."""
    return float(f"{value:.6g}")


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
