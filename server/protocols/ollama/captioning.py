"""Ollama's generate and chat: photos in, their best captions out, whole or a word a line."""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from flask import Response

from server.protocols.asking import Asker, Wish
from server.protocols.ollama.answers import OllamaAnswer, OllamaAnswerMessage, OllamaChatAnswer, OllamaGenerateAnswer
from server.protocols.ollama.requests import Format, OllamaChatBody, OllamaGenerateBody
from server.protocols.streams import as_json, json_lines
from server.protocols.structured import LABELS_SHAPE, Shape
from server.service import Answered

B = TypeVar("B", bound=OllamaGenerateBody | OllamaChatBody)

GENERATE_EXAMPLE = 'send a photo in "images", for example: {"model": "any", "images": ["<base64 of the file>"]}'
CHAT_EXAMPLE = (
    'send a photo in the last message of the role user, for example: {"model": "any", "messages": [{"role": "user", '
    '"images": ["<base64 of the file>"]}]}'
)

_WORD = re.compile(r"\s*\S+")


class _Form(NamedTuple):
    """The form of an answer."""

    shape: Shape | None
    streams: bool


def generate(asker: Asker) -> Response:
    """Answers a request for a text.

    Raises:
        CaptionerError: It cannot be answered.
    """

    def part(text: str, members: dict[str, Any]) -> OllamaAnswer:
        return OllamaGenerateAnswer(response=text, **members)

    return _answer(asker, OllamaGenerateBody, GENERATE_EXAMPLE, part)


def chat(asker: Asker) -> Response:
    """Answers a request for the next message.

    Raises:
        CaptionerError: It cannot be answered.
    """

    def part(text: str, members: dict[str, Any]) -> OllamaAnswer:
        return OllamaChatAnswer(message=OllamaAnswerMessage(text), **members)

    return _answer(asker, OllamaChatBody, CHAT_EXAMPLE, part)


def _answer(asker: Asker, kind: type[B], example: str, part: Callable[[str, dict[str, Any]], OllamaAnswer]) -> Response:
    """Answers a request; `part` builds an answer from a text and the common fields."""
    begun = time.monotonic()
    form, answers = asker.answer_json(kind, lambda body: _wish(asker, body, example))
    text = _text(answers, form.shape)
    frame = {"model": asker.config.name, "created_at": datetime.now(UTC).isoformat()}
    end = {**frame, "done": True, **_figures(answers, time.monotonic() - begun)}
    if not form.streams:
        return as_json(part(text, end))
    words = [text] if form.shape and answers else _WORD.findall(text)
    return json_lines([*(part(word, {**frame, "done": False}) for word in words), part("", end)])


def _wish(asker: Asker, body: B, example: str) -> Wish[_Form]:
    form = _Form(_shape_of(body.format), body.stream is not False)
    if body.only_loads:
        return Wish(images=[], rest=form)
    images = asker.images(body.photos, example)
    return Wish(images=images, rest=form, classes=form.shape.classes if form.shape else 0)


def _shape_of(wanted: Format) -> Shape | None:
    """Returns the JSON shape that the text must have; None for plain text."""
    if isinstance(wanted, dict):
        return Shape.of(wanted)
    return LABELS_SHAPE if wanted else None


def _text(answers: list[Answered], shape: Shape | None) -> str:
    text = "\n".join(answer.prediction.captions[0].text for answer in answers)
    if shape is None or not answers:
        return text
    classes = {item.label: item for answer in answers for item in answer.prediction.classes}
    return json.dumps(shape.fill(text, list(classes.values())), ensure_ascii=False)


def _figures(answers: list[Answered], seconds: float) -> dict[str, Any]:
    """Returns the counts at the end of an answer: photos are the prompt's tokens, words are the text's."""
    predictions = [answer.prediction for answer in answers]
    return {
        "done_reason": "stop" if answers else "load",
        "total_duration": _nanoseconds(seconds),
        "load_duration": 0,
        "prompt_eval_count": len(answers),
        "prompt_eval_duration": _nanoseconds(max((item.encode_seconds for item in predictions), default=0)),
        "eval_count": sum(len(item.captions[0].words) for item in predictions),
        "eval_duration": _nanoseconds(max((item.search_seconds for item in predictions), default=0)),
    }


def _nanoseconds(seconds: float) -> int:
    """Returns at least 1: clients divide by it, also where an earlier answer is given again in no time."""
    return max(1, round(seconds * 1e9))
