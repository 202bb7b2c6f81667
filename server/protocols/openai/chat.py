"""OpenAI's chat completions: the photos of the last message in, the best captions out."""

from collections.abc import Iterator
from typing import NamedTuple

from flask import Response

from server.problems import Json
from server.protocols.asking import Asker, Wish
from server.protocols.openai.answers import ChatAnswer, ChatChoice, ChatCompletion, ChatLogprobs, ChatUsage
from server.protocols.openai.requests import ChatBody, ChatFormat
from server.protocols.openai.text import Text, new_id, now, photos_of, shape_of, texts_of
from server.protocols.streams import as_json, server_sent_events
from server.protocols.structured import Shape

EXAMPLE = (
    'send a photo in the last message, for example: {"messages": [{"role": "user", "content": [{"type": "image_url", '
    '"image_url": {"url": "data:image/jpeg;base64,<base64 of the file>"}}]}]}'
)


class _Form(NamedTuple):
    """The form of an answer."""

    shape: Shape | None
    has_logprobs: bool
    streams: bool
    has_usage: bool


def chat(asker: Asker) -> Response:
    """Answers a request for a chat completion.

    Raises:
        CaptionerError: It cannot be answered.
    """
    form, answers = asker.answer_json(ChatBody, lambda body: _wish(asker, body))
    texts = texts_of(answers, form.shape)
    words = sum(len(text.pieces) for text in texts)
    usage = ChatUsage(len(answers), words, len(answers) + words)
    choices = [_choice(index, text, form) for index, text in enumerate(texts)]
    completion = ChatCompletion(new_id("chatcmpl-"), now(), asker.config.name, choices, usage)
    if form.streams:
        return server_sent_events(_chunks(completion, texts, form), end="[DONE]")
    return as_json(completion)


def _wish(asker: Asker, body: ChatBody) -> Wish[_Form]:
    wanted = body.response_format or ChatFormat()
    shape = shape_of(wanted.type, wanted.json_schema.schema if wanted.json_schema else None)
    has_usage = bool(body.stream_options and body.stream_options.include_usage)
    form = _Form(shape, bool(body.logprobs), bool(body.stream), has_usage)
    return Wish(
        images=asker.images(photos_of(body.messages), EXAMPLE),
        rest=form,
        captions=body.n or 1,
        classes=shape.classes if shape else 0,
    )


def _choice(index: int, text: Text, form: _Form) -> ChatChoice:
    logprobs = ChatLogprobs(text.pieces) if form.has_logprobs and form.shape is None else None
    return ChatChoice(index, ChatAnswer(text.text), logprobs)


def _chunks(completion: ChatCompletion, texts: list[Text], form: _Form) -> Iterator[Json]:
    """Yields a completion in parts: for each choice its role, its words and its end; then, if wanted, the usage."""
    frame = {
        "id": completion.id,
        "object": "chat.completion.chunk",
        "created": completion.created,
        "model": completion.model,
    }
    more: Json = {"usage": None} if form.has_usage else {}

    def part(choice: ChatChoice, delta: Json, end: str | None = None, logprobs: ChatLogprobs | None = None) -> Json:
        one = {"index": choice.index, "delta": delta, "logprobs": logprobs, "finish_reason": end}
        return {**frame, "choices": [one], **more}

    for choice, text in zip(completion.choices, texts, strict=True):
        yield part(choice, {"role": "assistant", "content": ""})
        for piece, words in text.parts:
            yield part(choice, {"content": piece}, logprobs=ChatLogprobs(words) if choice.logprobs else None)
        yield part(choice, {}, choice.finish_reason)
    if form.has_usage:
        yield {**frame, "choices": [], "usage": completion.usage}
