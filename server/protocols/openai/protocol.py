"""OpenAI's protocol: its routes, its errors and its models."""

import json

from model.config import CaptionerConfig
from server.description.operation import CAPTIONING, EXAMPLE_PHOTO, Operation
from server.description.schemas import reference
from server.problems import UNTYPED, ErrorForm, Json, kind_of
from server.protocols.openai.answers import ChatCompletion, OpenAiError, ResponseAnswer
from server.protocols.openai.chat import chat
from server.protocols.openai.requests import ChatBody, ResponseBody
from server.protocols.openai.responses import respond
from server.protocols.protocol import Protocol, Route, schemas_of
from server.protocols.streams import EVENTS

_IGNORED = (
    "Captions the photos of the last message of the role `user`, each given as a data URI; a URL is refused and never "
    "fetched. Texts, the model's name, tools and the settings of sampling are ignored: the captioner answers no "
    "questions. With a JSON schema, properties that are named like captions or labels are filled. A stream begins once "
    "the caption is known."
)


def _operation(path: str, name: str, summary: str, about: str, answer: str, body: str, example: Json) -> Operation:
    """Returns the description of a route that captions."""
    content = {"application/json": {"schema": reference(answer)}, **EVENTS}
    taken = {
        "required": True,
        "description": "The photos have at most `limits.body_bytes` of `/v1/model` in all; base64 is a third longer.",
        "content": {"application/json": {"schema": reference(body), "example": example}},
    }
    sample = json.dumps(example).replace(EXAMPLE_PHOTO, "data:image/jpeg;base64,'$(base64 -w0 photo.jpg)'")
    return Operation(
        path, name, "openai", summary, about, content, CAPTIONING, "post", body=taken, sample=f"--json '{sample}'"
    )


_CHAT = _operation(
    "/v1/chat/completions", "openai_chat", "Caption photos as a chat completion",
    f"{_IGNORED} `n` is the number of captions, best first; `logprobs` are the words' own.",
    "ChatCompletion", "ChatBody",
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": EXAMPLE_PHOTO}}]}]},
)  # fmt: skip
_RESPONSES = _operation(
    "/v1/responses", "openai_responses", "Caption photos as a response", _IGNORED,
    "ResponseAnswer", "ResponseBody",
    {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": EXAMPLE_PHOTO}]}]},
)  # fmt: skip


def _error(members: Json) -> Json:
    kind = members["title"] if members["type"] == UNTYPED else kind_of(members["type"])
    return {
        "error": {
            "message": members["detail"],
            "type": "server_error" if members["status"] >= 500 else "invalid_request_error",
            "param": None,
            "code": kind.lower().replace("-", "_").replace(" ", "_"),
        }
    }


def _model(config: CaptionerConfig) -> Json:
    # When a bundle was made is not recorded.
    return {"id": config.name, "object": "model", "created": 0, "owned_by": "show-and-tell"}


def _models(config: CaptionerConfig) -> Json:
    return {"object": "list", "data": [_model(config)]}


OPENAI = Protocol(
    name="openai",
    about="OpenAI's chat completions and responses, with their client's `base_url` at `/v1`.",
    routes=(Route(chat, _CHAT), Route(respond, _RESPONSES)),
    prefixes=("/v1/chat", "/v1/completions", "/v1/embeddings", "/v1/models", "/v1/responses"),
    form=ErrorForm("application/json", _error, reference("OpenAiError")),
    schemas=schemas_of(ChatBody, ChatCompletion, OpenAiError, ResponseAnswer, ResponseBody),
    model=_model,
    models=_models,
)
