"""The schemas of all answers, drawn from the code that writes the answers."""

import dataclasses
import typing
from typing import Any, Literal

from model.config import MAX_BEAM_SIZE, MAX_CLASSES, DecoderConfig, EncoderConfig, SearchConfig
from model.engines.choice import ENGINES
from model.errors import UnsupportedImageError
from model.formats.known import FORMATS_IN_WORDS
from model.image import FORMATS, MAX_SIDE_PIXELS
from server.problems import describe
from server.settings import ServerSettings

Json = dict[str, Any]

_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}


_PREDICTION = {
    "status": 200,
    "width": 320,
    "height": 240,
    "captions": [
        {
            "text": "a dog runs",
            "log_probability": -2.99573,
            "probability": 0.05,
            "score": -0.98818,
            "words": [
                {"text": "a", "probability": 0.8},
                {"text": "dog", "probability": 0.5},
                {"text": "runs", "probability": 0.25},
            ],
        }
    ],
    "classes": [{"id": "n02084071", "label": "dog", "probability": 0.75}],
    "timings_ms": {"read": 0.8, "queue": 0.1, "encode": 7.2, "search": 5.8},
}

_BAD_PHOTO = describe(
    UnsupportedImageError(
        f"expected a {FORMATS_IN_WORDS} image, received bytes of no such format; convert the file to JPEG or PNG"
    )
)

_MODEL_NAME = {"name": "show-and-tell-vgg19", "version": "3"}

EXAMPLES: Json = {
    "one": {"summary": "One photo", "value": {"model": _MODEL_NAME, "results": [_PREDICTION]}},
    "several": {
        "summary": "A bad photo in front of a good one",
        "value": {"model": _MODEL_NAME, "results": [_BAD_PHOTO, _PREDICTION]},
    },
}
"""Example answers."""


def reference(name: str) -> Json:
    """Returns a reference to the schema `name`."""
    return {"$ref": f"#/components/schemas/{name}"}


def answer_schemas(settings: ServerSettings) -> Json:
    """Returns every schema of the description, by name.

    Args:
        settings: The limits that `Limits` shows.
    """
    return {
        "Answer": _answer(settings),
        "Prediction": _prediction(),
        "Caption": _caption(),
        "Word": _explained(
            "One word of a caption.",
            text={"type": "string"},
            probability=_probability("Of this word after those before it; calibrated if the model is."),
        ),
        "Class": _explained(
            "One class that the photo may belong to.",
            id={"type": "string", "description": "Of the class, in the model's own list.", "examples": ["n02084071"]},
            label={"type": "string", "description": "Its name for people.", "examples": ["dog"]},
            probability=_probability("Of this class; those of all classes add up to 1."),
        ),
        "Problem": _problem(),
        "ModelName": _model_name(),
        "Model": _model(),
        "Limits": _limits(settings),
        "Alive": _object("The process answers.", status={"const": "alive"}),
        "Ready": _object("A photo would be captioned now.", status={"const": "ready"}),
    }


def _object(about: str, /, **properties: Json) -> Json:
    """Returns the schema of an object that requires all of its properties."""
    return {"type": "object", "description": about, "required": list(properties), "properties": properties}


def _explained(about: str, /, **properties: Json) -> Json:
    """Returns the schema of an object that has a map too if the request asks for one."""
    schema = _object(about, **properties)
    schema["properties"]["map"] = {
        "description": "Only with `explain`: which places spoke for it, over the whole photo, row by row. A grey PNG, "
        "white where most did, black where nothing did; or what each place adds to the logarithm of the probability, "
        "to first order, negative where it speaks against it.",
        "oneOf": [
            {"type": "string", "format": "uri", "pattern": "^data:image/png;base64,"},
            {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        ],
    }
    schema["properties"]["where"] = {
        "type": "string",
        "description": "Only with `explain`: where its map lies, in words.",
        "examples": ["mostly the lower half"],
    }
    return schema


def _array(items: Json, about: str, most: int) -> Json:
    return {"type": "array", "description": about, "items": items, "maxItems": most}


def _number(about: str, **bounds: float) -> Json:
    return {"type": "number", "description": about, **bounds}


def _whole(about: str, **others: Any) -> Json:
    return {"type": "integer", "description": about, **others}


def _probability(about: str) -> Json:
    return _number(about, minimum=0, maximum=1)


def _answer(settings: ServerSettings) -> Json:
    results = _array(
        {"oneOf": [reference("Prediction"), reference("Problem")]},
        "One for each image, in the order of the request: a prediction, or the problem of an image that cannot be "
        "read. `status` distinguishes them: 200, or the problem's status.",
        settings.max_images,
    )
    return _object("The predictions for every image.", model=reference("ModelName"), results={**results, "minItems": 1})


def _prediction() -> Json:
    timings = {
        "read": "Decoding this image.",
        "queue": "Waiting for the images before it.",
        "encode": "The encoder, for the whole batch.",
        "search": "The search for captions, for the whole batch.",
    }
    measured = _object(
        "Where the time went, in milliseconds.",
        **{name: _number(about, minimum=0) for name, about in timings.items()},
    )
    measured["properties"]["explain"] = _number("Only with `explain`: the maps of this image.", minimum=0)
    schema = _object(
        "Captions and classes of one image.",
        status={"const": 200, "description": "Marks a prediction."},
        width=_whole("Of the upright image, in pixels.", minimum=1),
        height=_whole("Of the upright image, in pixels.", minimum=1),
        captions=_array(reference("Caption"), "Best first; at most `captions` of them.", MAX_BEAM_SIZE),
        classes=_array(reference("Class"), "Most probable first.", MAX_CLASSES),
        timings_ms=measured,
    )
    # Not required: only some models can tell.
    schema["properties"]["unlikeness"] = _number(
        "How far the image is from those that the model was trained on: above 1 it is farther than most photos like "
        "those. Absent if the model cannot tell.",
        minimum=0,
    )
    return schema


def _caption() -> Json:
    return _object(
        "One sentence about the photo.",
        text={
            "type": "string",
            "description": "The words, with spaces between.",
            "examples": ["a dog runs on the grass"],
        },
        log_probability=_number(
            "Natural logarithm of the sentence's probability, its end included unless it was cut at the most words.",
            maximum=0,
        ),
        probability=_probability("Of the sentence. It is small, because many other sentences are possible."),
        score=_number(
            "Orders the captions: the logarithm of the sentence's probability before it is calibrated, divided by the "
            "number of its words, its end included, to the power of the model's `length_penalty`.",
            maximum=0,
        ),
        words={"type": "array", "description": "The words, with their probabilities.", "items": reference("Word")},
    )


def _problem() -> Json:
    problem = _object(
        "What went wrong (RFC 9457). Compare `type`; show `detail` to people.",
        status=_whole("HTTP status.", minimum=400, maximum=599),
        type={
            "type": "string",
            "format": "uri-reference",
            "description": "Kind of problem; never changes. `about:blank` if the status says everything.",
        },
        title={"type": "string", "description": "The kind in words; always the same."},
        detail={"type": "string", "description": "What is wrong with this request, and what to do."},
    )
    # Not required: only a 500 has it.
    problem["properties"]["incident"] = {
        "type": "string",
        "description": "Only on a 500: the incident id to quote.",
        "pattern": "^[0-9a-f]{16}$",
    }
    return problem


def _model_name() -> Json:
    return _object(
        "The model that answered.",
        name={"type": "string", "examples": ["show-and-tell-vgg19"]},
        version={"type": "string", "examples": ["2"]},
    )


def _model() -> Json:
    name = _model_name()["properties"]
    return _object(
        "What is loaded, and the server's limits.",
        **name,
        engine={
            "enum": [engine for engine in ENGINES if engine != "auto"],
            "description": "The engine that runs the model.",
        },
        architecture=_object(
            "Encoder and decoder.",
            encoder=_named(_dataclass(EncoderConfig)),
            decoder=_named(_dataclass(DecoderConfig)),
        ),
        parameters=_whole("Numbers that were learned.", minimum=1),
        vocabulary_size=_whole("Tokens that a caption can have, special ones included.", minimum=1),
        classes=_whole("Classes that a photo can have.", minimum=1),
        search=_dataclass(SearchConfig),
        scores={
            "type": "object",
            "description": "Measured scores, by split, then by metric.",
            "additionalProperties": {"type": "object", "additionalProperties": {"type": "number"}},
            "examples": [{"flickr8k dev": {"BLEU-4": 15.5}}],
        },
        good_at={"type": "string", "description": "What it captions well, in words; empty if nobody said so."},
        bad_at={"type": "string", "description": "Where it fails, in words; empty if nobody said so."},
        limits=reference("Limits"),
    )


def _limits(settings: ServerSettings) -> Json:
    def limit(about: str, value: float) -> Json:
        return {"const": value, "description": about}

    return _object(
        "The limits of this server.",
        body_bytes=limit("Largest request body.", settings.max_body_bytes),
        image_pixels=limit("Largest width times height of an image.", settings.max_pixels),
        image_side_pixels=limit("Longest side of an image.", MAX_SIDE_PIXELS),
        image_formats={"const": list(FORMATS), "description": "Accepted formats, recognised by the bytes."},
        images=limit("Most images in one request.", settings.max_images),
        beam_size=limit("Largest `beam_size`.", MAX_BEAM_SIZE),
        classes=limit("Largest `classes`.", MAX_CLASSES),
        deadline_seconds=limit("Time to answer a request after its body has arrived.", settings.deadline_seconds),
    )


def _named(schema: Json) -> Json:
    """Adds the property `name` in front of an architecture's numbers."""
    properties = {"name": {"type": "string"}, **schema["properties"]}
    return {**schema, "required": list(properties), "properties": properties}


def _dataclass(kind: Any) -> Json:
    about = (kind.__doc__ or kind.__name__).partition("\n")[0]
    hints = typing.get_type_hints(kind)
    return _object(about, **{item.name: _field(hints[item.name]) for item in dataclasses.fields(kind)})


def _field(hint: Any) -> Json:
    if typing.get_origin(hint) is tuple:
        hints = typing.get_args(hint)
        return {"type": "array", "items": _field(hints[0]), "minItems": len(hints), "maxItems": len(hints)}
    if typing.get_origin(hint) is Literal:
        return {"enum": list(typing.get_args(hint))}
    return {"type": _TYPES[hint]}
