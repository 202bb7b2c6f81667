"""OpenAI's responses: the photos of the last message in, the best caption out."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from flask import Response

from server.problems import Json
from server.protocols.asking import Asker, Wish
from server.protocols.openai.answers import OutputMessage, OutputText, ResponseAnswer, ResponseUsage
from server.protocols.openai.requests import ResponseBody, ResponseFormat
from server.protocols.openai.text import Text, new_id, now, photos_of, shape_of, texts_of
from server.protocols.streams import as_json, server_sent_events
from server.protocols.structured import Shape

EXAMPLE = (
    'send a photo in the last message, for example: {"input": [{"role": "user", "content": [{"type": "input_image", '
    '"image_url": "data:image/jpeg;base64,<base64 of the file>"}]}]}'
)

_LOGPROBS = "message.output_text.logprobs"


class _Form(NamedTuple):
    """The form of an answer."""

    shape: Shape | None
    has_logprobs: bool
    streams: bool


def respond(asker: Asker) -> Response:
    """Answers a request for a response.

    Raises:
        CaptionerError: It cannot be answered.
    """
    form, answers = asker.answer_json(ResponseBody, lambda body: _wish(asker, body))
    text = texts_of(answers, form.shape)[0]
    words = len(text.pieces)
    logprobs = text.pieces if form.has_logprobs and form.shape is None else []
    message = OutputMessage(new_id("msg_"), [OutputText(text.text, logprobs)])
    usage = ResponseUsage(len(answers), words, len(answers) + words)
    answer = ResponseAnswer(new_id("resp_"), now(), asker.config.name, [message], usage)
    return server_sent_events(_events(answer, text)) if form.streams else as_json(answer)


def _wish(asker: Asker, body: ResponseBody) -> Wish[_Form]:
    wanted = (body.text.format if body.text else None) or ResponseFormat()
    shape = shape_of(wanted.type, wanted.schema)
    messages = body.input if isinstance(body.input, list) else []
    return Wish(
        images=asker.images(photos_of(messages), EXAMPLE),
        rest=_Form(shape, _LOGPROBS in (body.include or ()), bool(body.stream)),
        classes=shape.classes if shape else 0,
    )


def _events(answer: ResponseAnswer, text: Text) -> Iterator[Json]:
    """Yields a response in parts, numbered."""
    for number, (kind, members) in enumerate(_parts(answer, text)):
        yield {"type": f"response.{kind}", "sequence_number": number, **members}


def _parts(answer: ResponseAnswer, text: Text) -> Iterator[tuple[str, dict[str, Any]]]:
    (message,) = answer.output
    (whole,) = message.content
    begun = msgspec.structs.replace(answer, status="in_progress", output=[], usage=None)
    at_item = {"output_index": 0, "item_id": message.id, "content_index": 0}
    yield "created", {"response": begun}
    yield "in_progress", {"response": begun}
    item = msgspec.structs.replace(message, status="in_progress", content=[])
    yield "output_item.added", {"output_index": 0, "item": item}
    yield "content_part.added", {**at_item, "part": OutputText("")}
    for piece, words in text.parts:
        yield "output_text.delta", {**at_item, "delta": piece, "logprobs": words if whole.logprobs else []}
    yield "output_text.done", {**at_item, "text": whole.text, "logprobs": whole.logprobs}
    yield "content_part.done", {**at_item, "part": whole}
    yield "output_item.done", {"output_index": 0, "item": message}
    yield "completed", {"response": answer}
