"""Captions as the text of a chat completion or a response: what both have in common."""

import itertools
import json
import math
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from model.captioner import Caption
from server.problems import Json
from server.protocols.openai.answers import TokenLogprob
from server.protocols.openai.requests import ChatImage, ChatMessage
from server.protocols.structured import PLAIN_SHAPE, Shape
from server.service import Answered

_IMPOSSIBLE = -9999.0  # OpenAI's own value for a probability of 0


class Text(NamedTuple):
    """One text of an answer.

    Attributes:
        text: The whole text.
        pieces: The words, each with the space in front of it. Joined they are the text, unless that is JSON.
    """

    text: str
    pieces: list[TokenLogprob]

    @property
    def parts(self) -> list[tuple[str, list[TokenLogprob]]]:
        """Returns the parts of a stream, each with its words."""
        texts = [piece.token for piece in self.pieces]
        is_plain = "".join(texts) == self.text
        return [(piece.token, [piece]) for piece in self.pieces] if is_plain else [(self.text, [])]


def photos_of(messages: Sequence[ChatMessage]) -> list[str]:
    """Returns the photos of the last message of a user, as they were sent."""
    last = next((message.content for message in reversed(messages) if message.role == "user"), None)
    links = [part.image_url for part in last] if isinstance(last, list) else []
    return [link.url if isinstance(link, ChatImage) else link for link in links if link is not None]


def shape_of(kind: Literal["text", "json_object", "json_schema"], schema: Json | None) -> Shape | None:
    """Returns the JSON shape that the text must have; None for plain text.

    Raises:
        ParameterError: It cannot be filled.
    """
    if kind == "json_schema":
        return Shape.of(schema or {})
    return PLAIN_SHAPE if kind == "json_object" else None


def texts_of(answers: Sequence[Answered], shape: Shape | None) -> list[Text]:
    """Returns the texts, best first. For several photos each text has one caption of every photo, one a line."""
    most = max(len(answer.prediction.captions) for answer in answers)
    classes = {item.label: item for answer in answers for item in answer.prediction.classes}
    texts = []
    for rank in range(most):
        ranked = [answer.prediction.captions[: rank + 1][-1] for answer in answers]
        pieces = list(itertools.chain.from_iterable(map(_pieces, ranked, itertools.count())))
        text = "".join(piece.token for piece in pieces)
        if shape is not None:
            text = json.dumps(shape.fill(text, list(classes.values())), ensure_ascii=False)
        texts.append(Text(text, pieces))
    return texts


def new_id(prefix: str) -> str:
    """Returns an id for an answer or a part of it."""
    return f"{prefix}{secrets.token_hex(12)}"


def now() -> int:
    """Returns the time of an answer, in seconds since 1970."""
    return int(time.time())


def _pieces(caption: Caption, line: int) -> Iterator[TokenLogprob]:
    rest = caption.text
    for index, word in enumerate(caption.words):
        space, _, rest = rest.partition(word.text)
        token = ("\n" if line and not index else space) + word.text
        logprob = math.log(word.probability) if word.probability > 0 else _IMPOSSIBLE
        yield TokenLogprob(token, min(logprob, 0.0), list(token.encode()))
