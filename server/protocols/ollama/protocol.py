"""Ollama's protocol: its routes, its errors and its models."""

import hashlib
import json

from flask import Response

from server.description.operation import CAPTIONING, EXAMPLE_PHOTO, Operation
from server.description.schemas import reference
from server.errors import BodyTooLargeError, MalformedBodyError, NotReadyError, UnsupportedCodingError
from server.problems import ErrorForm, Json
from server.protocols.asking import Asker, Wish
from server.protocols.ollama.answers import (
    OllamaChatAnswer,
    OllamaError,
    OllamaGenerateAnswer,
    OllamaModel,
    OllamaModels,
    OllamaShown,
    OllamaVersion,
)
from server.protocols.ollama.captioning import chat, generate
from server.protocols.ollama.requests import OllamaChatBody, OllamaGenerateBody, OllamaShowBody
from server.protocols.protocol import Protocol, Route, schemas_of
from server.protocols.streams import as_json

VERSION = "0.12.11"
"""The version of Ollama's API that is implemented. Clients refuse versions that they think too old."""

_UNKNOWN_TIME = "1970-01-01T00:00:00Z"  # When a bundle was made is not recorded.
_PHOTO = EXAMPLE_PHOTO.rpartition(",")[2]
_IGNORED = (
    "Texts, the model's name, tools and options are ignored: the captioner answers no questions. With the format "
    "`json` the answer is `labels` with `name`, `confidence` and `topicality`. With a JSON schema, properties that are "
    "named like captions or labels are filled. Answers are streamed unless `stream` is false; a stream begins once the "
    "caption is known."
)


def _show(asker: Asker) -> Response:
    asker.answer_json(OllamaShowBody, _named)
    config = asker.config
    about: dict[str, str | int] = {
        "general.architecture": "show-and-tell",
        "general.basename": config.name,
        "general.version": config.version,
        "show-and-tell.context_length": config.search.max_words,
        "show-and-tell.vocab_size": config.decoder.vocabulary_size,
    }
    return as_json(OllamaShown(_UNKNOWN_TIME, about))


def _named(body: OllamaShowBody) -> Wish[None]:
    if body.model is None and body.name is None:
        raise MalformedBodyError('expected the name of a model, received none; send {"model": "any"}')
    return Wish(images=[], rest=None)


def _tags(asker: Asker) -> Response:
    config = asker.config
    digest = hashlib.sha256(config.to_json().encode()).hexdigest()
    return as_json(OllamaModels([OllamaModel(config.name, config.name, _UNKNOWN_TIME, digest)]))


def _version(_asker: Asker) -> Response:
    return as_json(OllamaVersion(VERSION))


def _content(answer: str) -> Json:
    return {"application/json": {"schema": reference(answer)}}


def _body(body: str, example: Json, about: str) -> Json:
    content = {"application/json": {"schema": reference(body), "example": example}}
    return {"required": True, "description": about, "content": content}


def _captions(path: str, summary: str, body: str, answer: str, example: Json) -> Operation:
    """Returns the description of a route that captions."""
    about = "The photos have at most `limits.body_bytes` of `/v1/model` in all; base64 is a third longer."
    content = {**_content(answer), "application/x-ndjson": {"schema": reference(answer)}}
    sample = json.dumps(example).replace(_PHOTO, "'$(base64 -w0 photo.jpg)'")
    return Operation(
        f"/api/{path}", f"ollama_{path}", "ollama", summary, _IGNORED, content, CAPTIONING, "post",
        body=_body(body, example, about), sample=f"--json '{sample}'",
    )  # fmt: skip


_GENERATE = _captions(
    "generate", "Caption photos as a generated text", "OllamaGenerateBody", "OllamaGenerateAnswer",
    {"model": "any", "images": [_PHOTO], "stream": False},
)  # fmt: skip
_CHAT = _captions(
    "chat", "Caption photos as a message", "OllamaChatBody", "OllamaChatAnswer",
    {"model": "any", "messages": [{"role": "user", "images": [_PHOTO]}], "stream": False},
)  # fmt: skip
_TAGS = Operation(
    "/api/tags", "ollama_tags", "ollama", "List the served model",
    "Its digest is that of its configuration. When it was made and its size are not recorded.",
    _content("OllamaModels"), (NotReadyError,),
)  # fmt: skip
_SHOW = Operation(
    "/api/show", "ollama_show", "ollama", "Model metadata",
    "Describes the served model, whatever name is given: clients ask before they use a model.",
    _content("OllamaShown"), (MalformedBodyError, BodyTooLargeError, UnsupportedCodingError, NotReadyError), "post",
    body=_body("OllamaShowBody", {"model": "any"}, "The name of any model."), sample="""--json '{"model": "any"}'""",
)  # fmt: skip
_VERSION = Operation(
    "/api/version", "ollama_version", "ollama", "The version of Ollama's API that is implemented",
    "Not the version of this server: clients refuse versions of Ollama that they think too old.",
    _content("OllamaVersion"),
)  # fmt: skip


def _error(members: Json) -> Json:
    return {"error": members["detail"]}


OLLAMA = Protocol(
    name="ollama",
    about="Ollama's generate and chat, with their client's `host` at this server.",
    routes=(
        Route(generate, _GENERATE),
        Route(chat, _CHAT),
        Route(_tags, _TAGS),
        Route(_show, _SHOW),
        Route(_version, _VERSION),
    ),
    prefixes=("/api",),
    form=ErrorForm("application/json", _error, reference("OllamaError")),
    schemas=schemas_of(
        OllamaChatAnswer,
        OllamaChatBody,
        OllamaError,
        OllamaGenerateAnswer,
        OllamaGenerateBody,
        OllamaModels,
        OllamaShowBody,
        OllamaShown,
        OllamaVersion,
    ),
)
