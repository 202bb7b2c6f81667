"""The endpoints under /v1: parse a request, call the one service, serialise its answer; and the health checks."""

import dataclasses
from typing import Annotated, Any

import msgspec
from flask import Flask, Response, request
from msgspec import UNSET, Meta, UnsetType
from werkzeug.datastructures import MultiDict

from model.captioner import Caption
from model.config import MAX_BEAM_SIZE, MAX_CLASSES, CaptionerConfig
from model.errors import ImageError
from model.image import FORMATS, MAX_SIDE_PIXELS, is_image
from server.bodies import json_limit, read_body, too_large
from server.envelopes import JSON_EXAMPLE, PREDICT_ADVICE
from server.errors import MalformedBodyError, ParameterError
from server.jobs import PredictOptions
from server.problems import describe
from server.service import Answered, Asked, CaptionService
from server.settings import ServerSettings
from server.typed_json import images_of, parse_json
from server.uploads import images_in

PARAMETERS = PREDICT_ADVICE.parameters
"""What can be asked for in the query."""

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain"
DEFAULT_CAPTIONS = 3
DEFAULT_CLASSES = 5

Json = dict[str, Any]


Base64 = Annotated[str, Meta(description="An image as base64 or as a data URI.", extra_json_schema={"format": "byte"})]


class PredictBody(msgspec.Struct, forbid_unknown_fields=True):
    """A request as JSON: one image or several, each as base64 or a data URI, and what is wanted for each of them."""

    image: Base64 | UnsetType = UNSET
    images: Annotated[list[Base64], Meta(min_length=1, description="Several images.")] | UnsetType = UNSET
    beam_size: Annotated[int, Meta(ge=1, le=MAX_BEAM_SIZE)] | UnsetType = UNSET
    captions: Annotated[int, Meta(ge=1, le=MAX_BEAM_SIZE)] | UnsetType = UNSET
    classes: Annotated[int, Meta(ge=0, le=MAX_CLASSES)] | UnsetType = UNSET

    @property
    def texts(self) -> list[str]:
        """Returns the images as they were sent.

        Raises:
            MalformedBodyError: `image` and `images` are both there, or neither is.
        """
        if isinstance(self.image, str) and self.images is UNSET:
            return [self.image]
        if isinstance(self.images, list) and self.image is UNSET:
            return self.images
        both = "neither" if self.image is UNSET else "both"
        raise MalformedBodyError(f"expected 'image' or 'images' in the JSON, received {both}; {JSON_EXAMPLE}")


class Api:
    """The endpoints of our own protocol, and the health checks.

    Args:
        settings: The limits.
        service: Captions images.
    """

    def __init__(self, settings: ServerSettings, service: CaptionService) -> None:
        self._settings = settings
        self._service = service

    def register(self, app: Flask) -> None:
        """Adds the endpoints to `app`."""
        app.add_url_rule("/v1/predict", view_func=self.predict, methods=["POST"])
        app.add_url_rule("/v1/model", view_func=self.model)
        app.add_url_rule("/livez", view_func=self.livez)
        app.add_url_rule("/readyz", view_func=self.readyz)

    def predict(self) -> Json | Response:
        """Captions and classifies every image of the request.

        Returns:
            The model's name and version, and one result per image, in order: a prediction, or the problem of an image
            that could not be read.

        Raises:
            CaptionerError: No image can be answered.
        """
        # Checked before the body is read, so that no client uploads photos only to be refused.
        config = self._service.captioner.config
        options = parse_options(request.args, config)
        most = json_limit(self._settings.max_body_bytes) if request.mimetype == JSON_TYPE else None
        answers = self._service.answer(request, lambda: self._asked(options, config), most)
        if request.accept_mimetypes.best_match((JSON_TYPE, TEXT_TYPE), JSON_TYPE) == TEXT_TYPE:
            return _as_text(answers)
        results = [describe(item) if isinstance(item, ImageError) else _result(item) for item in answers]
        return {"model": {"name": config.name, "version": config.version}, "results": results}

    def _asked(self, options: PredictOptions, config: CaptionerConfig) -> Asked:
        """Reads the images from JSON, a form or the raw body; the first bytes decide, not the content type alone."""
        most = self._settings.max_body_bytes
        if request.mimetype == JSON_TYPE:
            body = read_body(request, json_limit(most), images_bytes=most)
        else:
            body = read_body(request, most)
        is_json = request.mimetype == JSON_TYPE and not is_image(body[:64])
        if not body or not (is_json or body[:64].lstrip().startswith(b"{")):
            if len(body) > most:
                raise too_large(most)
            return Asked(images_in(body, request, self._settings.max_images), options)
        asked = parse_json(body, PredictBody)
        del body
        return Asked(images_of(asked.texts, self._settings), self._options_in(asked, options, config))

    def _options_in(self, asked: PredictBody, options: PredictOptions, config: CaptionerConfig) -> PredictOptions:
        given = MultiDict([(name, str(value)) for name in PARAMETERS if (value := getattr(asked, name)) is not UNSET])
        if given and request.args:
            raise ParameterError(
                f"{next(iter(given))}: expected parameters in the JSON or in the query, received some in both; put all "
                "into the JSON"
            )
        return parse_options(given, config) if given else options

    def model(self) -> Json:
        """Returns what is loaded, and this server's limits."""
        captioner = self._service.captioner
        settings = self._settings
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


def _as_text(answers: list[Answered | ImageError]) -> Response:
    """Returns the first caption of each image, one a line; the line of an image that cannot be read is empty."""
    lines = ["" if isinstance(item, ImageError) else item.prediction.captions[0].text for item in answers]
    return Response("".join(f"{line}\n" for line in lines), content_type=f"{TEXT_TYPE}; charset=utf-8")


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
        # Rounding in an engine can make the logarithm of a probability of 1 a little larger than 0.
        "log_probability": _rounded(min(caption.log_probability, 0.0)),
        "probability": _rounded(caption.probability),
        "words": [{"text": word.text, "probability": _rounded(word.probability)} for word in caption.words],
    }


def _rounded(value: float) -> float:
    """Rounds to six significant digits, as many as float32 has."""
    return float(f"{value:.6g}")


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
