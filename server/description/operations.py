"""The operations of the API: what each route takes, answers and refuses. `openapi.py` assembles them."""

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST

from model.formats.known import FORMATS_IN_WORDS
from model.image import FORMATS
from model.options import Option
from server.description.operation import CAPTIONING, Operation
from server.description.schemas import EXAMPLES, Json, reference
from server.errors import NotReadyError, QueueFullError
from server.parameters import PARAMETERS, PredictBody
from server.settings import ServerSettings
from server.uploads import FIELD


def operations(settings: ServerSettings) -> tuple[Operation, ...]:
    """Returns every operation of a server with these settings, in the order of the page."""
    return (_predict(settings), *_state(settings), *_pages())


def _predict(settings: ServerSettings) -> Operation:
    body = (
        f"At most {settings.max_body_bytes:,} bytes, those of the images where they are base64; compressed by gzip or "
        f"deflate if `Content-Encoding` says so. Each image is {FORMATS_IN_WORDS}, recognised by its "
        f"bytes, of at most {settings.max_pixels:,} pixels."
    )
    forms = {
        "multipart/form-data": _form(settings.max_images),
        "application/json": _json_body(settings.max_images),
        "*/*": _raw_body(),
    }
    return Operation(
        "/v1/predict", "predict", "captions", "Caption and classify photos",
        f"Takes one photo as the body, or up to {settings.max_images} in a form or in JSON, with the parameters "
        "in the query or in the JSON. A bad photo among several gets a "
        "problem in its place, and the others are answered; a bad photo alone is answered with its problem. Unknown "
        "parameters are refused. With `Accept: text/plain` the answer is the first caption of each photo, one a line; "
        "the line of a bad photo is empty.",
        {"application/json": {"schema": reference("Answer"), "examples": EXAMPLES}, **_text("text/plain")},
        CAPTIONING,
        "post",
        _query(),
        {"required": True, "description": body, "content": forms},
    )  # fmt: skip


def _state(settings: ServerSettings) -> tuple[Operation, ...]:
    return (
        Operation(
            "/v1/model", "model", "captions", "What is loaded, and its limits",
            "Which model answers, how it was measured, and what this server accepts.",
            _json(reference("Model")), (NotReadyError,),
        ),
        Operation(
            "/livez", "livez", "health", "Is the process there?",
            "Answers also while the model is still loading.", _json(reference("Alive")),
        ),
        Operation(
            "/readyz", "readyz", "health", "Would a photo be captioned now?",
            "Answers 503 until the model is loaded and has captioned a built-in picture, while "
            f"{settings.max_waiting} images wait, and after the server has been told to stop.",
            _json(reference("Ready")), (NotReadyError, QueueFullError),
        ),
        Operation(
            "/metrics", "metrics", "health", "Metrics for Prometheus",
            "Requests, refusals by reason, latencies, the queue, the model and the build.",
            _text(CONTENT_TYPE_LATEST.partition(";")[0]),
        ),
    )  # fmt: skip


def _pages() -> tuple[Operation, ...]:
    return (
        Operation(
            "/openapi.json", "openapi", "pages", "This description",
            "OpenAPI 3.1, with the limits of this very server.",
            _json({"type": "object", "required": ["openapi", "info", "paths", "components"]}),
        ),
        Operation(
            "/docs", "docs", "pages", "This description, for people",
            "One page of HTML that loads nothing from elsewhere.", _text("text/html"),
        ),
        Operation(
            "/", "index", "pages", "The demo page",
            "Takes photos and shows their captions. Supports conditional and range requests.",
            _text("text/html"),
        ),
    )  # fmt: skip


def _query() -> tuple[Json, ...]:
    return tuple(
        {"name": name, "in": "query", "description": option.about, "schema": _schema_of(option)}
        for name, option in PARAMETERS.items()
    )


def _schema_of(option: Option) -> Json:
    if option.kind is bool:
        return {"type": "boolean"}
    if option.kind is str:
        return {"enum": list(option.choices)}
    kind = "integer" if option.kind is int else "number"
    return {"type": kind, "minimum": option.low, "maximum": option.high}


def _form(most: int) -> Json:
    image = {"type": "string", "format": "binary", "description": "One image, with or without a file name."}
    images = {"type": "array", "minItems": 1, "maxItems": most, "items": image}
    schema = {
        "type": "object", "required": [FIELD], "additionalProperties": False,
        "properties": {FIELD: {**images, "description": "Once for each photo."}},
    }  # fmt: skip
    return {"schema": schema, "encoding": {FIELD: {"contentType": ", ".join(f"image/{f.lower()}" for f in FORMATS)}}}


def _json_body(most: int) -> Json:
    """Returns what the validator takes, and that there is one of two properties."""
    schema = msgspec.json.schema_components((PredictBody,))[1]["PredictBody"]
    schema["properties"]["images"]["maxItems"] = most
    return {"schema": {**schema, "oneOf": [{"required": ["image"]}, {"required": ["images"]}]}}


def _raw_body() -> Json:
    about = "One image. Its content type may be missing or wrong: the bytes decide."
    return {"schema": {"type": "string", "format": "binary", "description": about}}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _text(media_type: str) -> Json:
    return {media_type: {"schema": {"type": "string"}}}
