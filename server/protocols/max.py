"""The protocol of the Image Caption Generator of IBM's Model Asset Exchange (MAX): a form in, captions out."""

from typing import Literal

from flask import Response, request
from msgspec import Struct

from server.bodies import read_body
from server.description.operation import CAPTIONING, Operation
from server.description.schemas import reference
from server.errors import MalformedBodyError, NotReadyError
from server.problems import ErrorForm, Json
from server.protocols.asking import Asker, Wish
from server.protocols.protocol import Protocol, Route, schemas_of
from server.protocols.streams import as_json
from server.uploads import FIELD, images_in

CAPTIONS = 3
"""Captions of an answer, as many as MAX gives."""

_FORM_TYPE = "multipart/form-data"
_EXAMPLE = f"for example: curl -F {FIELD}=@photo.jpg http://127.0.0.1:8000/model/predict"


class MaxPrediction(Struct):
    """A caption, its rank as text, and the probability of the whole sentence."""

    index: str
    caption: str
    probability: float


class MaxAnswer(Struct):
    """The captions of a photo, best first."""

    predictions: list[MaxPrediction]
    status: Literal["ok"] = "ok"


class MaxMetadata(Struct):
    """Metadata of the model."""

    id: str
    name: str
    description: str
    type: str
    source: str


class MaxLabel(Struct):
    """A class of the encoder."""

    id: str
    name: str


class MaxLabels(Struct):
    """The classes of the encoder."""

    count: int
    labels: list[MaxLabel]


class MaxError(Struct):
    """The body of an error."""

    message: str
    status: Literal["error"] = "error"


def _predict(asker: Asker) -> Response:
    _, (answer,) = asker.answer(lambda: _wish(asker))
    captions = answer.prediction.captions
    return as_json(MaxAnswer([MaxPrediction(str(i), item.text, item.probability) for i, item in enumerate(captions)]))


def _wish(asker: Asker) -> Wish[None]:
    """Reads a form with one photo. Unlike `/v1/predict`, a raw body and further photos are refused."""
    body = read_body(request, asker.settings.max_body_bytes)
    if request.mimetype != _FORM_TYPE:
        received = repr(request.mimetype[:50]) if request.mimetype else "none"
        raise MalformedBodyError(
            f"expected {_FORM_TYPE} with the photo in the field {FIELD!r}, received the type {received}; {_EXAMPLE}"
        )
    images = images_in(body, request, asker.settings)
    if len(images) > 1:
        raise MalformedBodyError(f"expected one photo in the field {FIELD!r}, received {len(images)}; send each alone")
    return Wish(images=images, rest=None, captions=CAPTIONS)


def _metadata(asker: Asker) -> Response:
    config = asker.config
    about = f"Show and Tell, version {config.version}: an encoder of photos, and a decoder that writes a sentence."
    return as_json(
        MaxMetadata(config.name, config.name, about, "Image-to-Text Translation", "https://arxiv.org/abs/1411.4555")
    )


def _labels(asker: Asker) -> Response:
    labels = [MaxLabel(item.id, item.label) for item in asker.classes]
    return as_json(MaxLabels(len(labels), labels))


def _content(answer: str) -> Json:
    return {"application/json": {"schema": reference(answer)}}


def _operation(name: str, summary: str, about: str, answer: str) -> Operation:
    """Returns the description of a route that needs no photo."""
    return Operation(f"/model/{name}", f"max_{name}", "max", summary, about, _content(answer), (NotReadyError,))


_PREDICT = Operation(
    "/model/predict", "max_predict", "max", "Caption a photo as MAX does",
    f"Returns the {CAPTIONS} best captions, or fewer if the search finds fewer. Takes the formats of /v1/predict.",
    _content("MaxAnswer"), CAPTIONING, "post",
    body={
        "required": True,
        "description": "A form with the photo.",
        "content": {
            _FORM_TYPE: {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "string", "format": "binary"}},
                    "additionalProperties": False,
                }
            }
        },
    },
    sample=f"-F {FIELD}=@photo.jpg",
)  # fmt: skip


def _error(members: Json) -> Json:
    return {"status": "error", "message": members["detail"]}


MAX = Protocol(
    name="max",
    about="IBM's MAX Image Caption Generator, for its web app and other clients of it.",
    routes=(
        Route(_predict, _PREDICT),
        Route(_metadata, _operation("metadata", "Model metadata", "Its name and where it comes from.", "MaxMetadata")),
        Route(_labels, _operation("labels", "The classes", "Every class that the encoder knows.", "MaxLabels")),
    ),
    prefixes=("/model",),
    form=ErrorForm("application/json", _error, reference("MaxError")),
    schemas=schemas_of(MaxAnswer, MaxError, MaxLabels, MaxMetadata),
)
