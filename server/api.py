"""The endpoints under /v1: parse a request, call the one service, serialise its answer; and the health checks."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, request

from model.bundle import weight_shapes
from model.captioner import Caption, ClassPrediction
from model.config import MAX_BEAM_SIZE, MAX_CLASSES, CaptionerConfig
from model.errors import ImageError
from model.image import FORMATS, MAX_SIDE_PIXELS, is_image
from model.maps import as_data_uri, as_rows, in_words
from model.search import Floats
from server.bodies import json_limit, read_body, too_large
from server.errors import ParameterError
from server.jobs import PredictOptions
from server.parameters import PredictBody, parse_options
from server.problems import describe
from server.service import Answered, Asked, CaptionService
from server.settings import ServerSettings
from server.typed_json import images_of, parse_json
from server.uploads import images_in

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain"
CARD = ("good_at", "bad_at")
"""What a bundle's provenance may say to those who use it: what it captions well, and where it fails."""

Json = dict[str, Any]


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
        answers = self._service.answer(request, lambda: _checked(self._asked(options, config)), most)
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
        given = asked.parameters
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
            "parameters": sum(math.prod(shape) for shape in weight_shapes(config).values()),
            "vocabulary_size": config.decoder.vocabulary_size,
            "classes": config.encoder.classes,
            "search": dataclasses.asdict(config.search),
            "scores": config.scores,
            **{name: str(config.provenance.get(name, "")) for name in CARD},
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


def _checked(asked: Asked) -> Asked:
    """Refuses to explain more than one image: the answer would be large, and the others would wait for it."""
    if asked.options.explain is not None and len(asked.images) > 1:
        raise ParameterError(
            f"explain: expected one image in the request with it, received {len(asked.images)}; send them one by one"
        )
    return asked


def _as_text(answers: list[Answered | ImageError]) -> Response:
    """Returns the first caption of each image, one a line; the line of an image that cannot be read is empty."""
    lines = ["" if isinstance(item, ImageError) else item.prediction.captions[0].text for item in answers]
    return Response("".join(f"{line}\n" for line in lines), content_type=f"{TEXT_TYPE}; charset=utf-8")


def _result(answered: Answered) -> Json:
    prediction = answered.prediction
    explanation = prediction.explanation
    timings = {
        "read": answered.read_seconds,
        "queue": answered.queue_seconds,
        "encode": prediction.encode_seconds,
        "search": prediction.search_seconds,
    }
    captions = [_caption(caption) for caption in prediction.captions]
    classes = [_class(item) for item in prediction.classes]
    if explanation is not None:
        timings["explain"] = explanation.seconds
        form = as_rows if answered.explain == "values" else as_data_uri
        for caption, maps in zip(captions, explanation.captions, strict=True):
            _add_maps(caption["words"], maps, form)
        _add_maps(classes, explanation.classes, form)
    unlikeness = {} if prediction.unlikeness is None else {"unlikeness": _rounded(prediction.unlikeness)}
    return {
        "status": 200,
        "width": answered.width,
        "height": answered.height,
        "captions": captions,
        "classes": classes,
        **unlikeness,
        "timings_ms": {name: round(seconds * 1000, 1) for name, seconds in timings.items()},
    }


def _caption(caption: Caption) -> Json:
    return {
        "text": caption.text,
        # Rounding in an engine can make the logarithm of a probability of 1 a little larger than 0.
        "log_probability": _rounded(min(caption.log_probability, 0.0)),
        "probability": _rounded(caption.probability),
        "score": _rounded(min(caption.score, 0.0)),
        "words": [{"text": word.text, "probability": _rounded(word.probability)} for word in caption.words],
    }


def _class(item: ClassPrediction) -> Json:
    return {"id": item.id, "label": item.label, "probability": _rounded(item.probability)}


def _add_maps(items: list[Json], maps: Floats, form: Callable[[Floats], str | list[list[float]]]) -> None:
    for item, values in zip(items, maps, strict=True):
        item["map"] = form(values)
        item["where"] = in_words(values)


def _rounded(value: float) -> float:
    """Rounds to six significant digits, as many as float32 has."""
    return float(f"{value:.6g}")
