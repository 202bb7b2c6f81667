"""The endpoints under /v1: parse a request, call the one service, serialise its answer; and the health checks."""

import dataclasses
from typing import Any

from flask import Flask, request
from werkzeug.datastructures import MultiDict

from model.captioner import MAX_CLASSES, Caption
from model.config import CaptionerConfig
from model.engines.protocol import MAX_BEAM_SIZE
from model.errors import ImageError
from model.image import FORMATS, MAX_SIDE_PIXELS
from server.errors import ParameterError
from server.jobs import PredictOptions
from server.problems import describe
from server.service import Answered, Asked, CaptionService
from server.settings import ServerSettings
from server.uploads import read_uploads

PARAMETERS = ("beam_size", "captions", "classes")
DEFAULT_CAPTIONS = 3
DEFAULT_CLASSES = 5

Json = dict[str, Any]


class Api:
    """The endpoints of our own protocol, and the health checks.

    Args:
        settings: The limits.
        service: Captions images.
    """

    def __init__(self, settings: ServerSettings, service: CaptionService) -> None:
        self._settings, self._service = settings, service

    def register(self, app: Flask) -> None:
        """Adds the endpoints to `app`."""
        app.add_url_rule("/v1/predict", view_func=self.predict, methods=["POST"])
        app.add_url_rule("/v1/model", view_func=self.model)
        app.add_url_rule("/livez", view_func=self.livez)
        app.add_url_rule("/readyz", view_func=self.readyz)

    def predict(self) -> Json:
        """Captions and classifies every image of the request.

        Returns:
            The model's name and version, and one result per image, in order: a prediction, or the problem of an image
            that could not be read.

        Raises:
            CaptionerError: No image can be answered.
        """
        # Checked before the body is read: both cost nothing, and spare a client in error its upload.
        config = self._service.captioner.config
        options = parse_options(request.args, config)
        answers = self._service.answer(request, lambda: Asked(read_uploads(request, self._settings), options))
        results = [describe(item) if isinstance(item, ImageError) else _result(item) for item in answers]
        return {"model": {"name": config.name, "version": config.version}, "results": results}

    def model(self) -> Json:
        """Returns what is loaded, and this server's limits."""
        captioner, settings = self._service.captioner, self._settings
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
        """Answers as long as the process lives."""
        return {"status": "alive"}

    def readyz(self) -> Json:
        """Answers if a photo would be captioned now.

        Raises:
            NotReadyError: The captioner is not loaded, the server is shutting down, or waiting photos are stuck.
            QueueFullError: The queue is full.
        """
        self._service.check()
        return {"status": "ready"}


def parse_options(arguments: "MultiDict[str, str]", config: CaptionerConfig) -> PredictOptions:
    """Returns the options that the query parameters of a prediction ask for.

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
    # Stricter than int(), which accepts "1_0", " 7" and digits of other scripts, and fails on very long numbers.
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else -1
    if not low <= value <= high:
        bound = f"{high} ({high_is})" if high_is else str(high)
        raise ParameterError(f"{name}: expected a whole number from {low} to {bound}, received {text[:50]!r}")
    return value


def _result(answered: Answered) -> Json:
    prediction = answered.prediction
    return {
        "status": 200,
        "width": answered.width,
        "height": answered.height,
        "captions": [_caption(caption) for caption in prediction.captions],
        "classes": [
            {"id": item.id, "label": item.label, "probability": _rounded(item.probability)}
            for item in prediction.classes
        ],
        "timings_ms": {
            "read": _milliseconds(answered.read_seconds),
            "queue": _milliseconds(answered.queue_seconds),
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
    """Rounds to six significant digits, as many as float32 has."""
    return float(f"{value:.6g}")


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
