"""JSON: bodies read up to a limit, checked against a type, photos in them decoded from base64; and answers written."""

import binascii
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from flask import Request, Response
from flask.json.provider import JSONProvider

from server.bodies import json_limit, read_body, too_large
from server.envelopes import JSON_EXAMPLE, link_refused
from server.errors import MalformedBodyError
from server.settings import ServerSettings

T = TypeVar("T")

_LINK = re.compile(r"(?:https?|ftp|file|blob|s3|gs)://?", re.IGNORECASE)
_DATA_URI = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_MARK = "\ufeff".encode()
_MOST_SHOWN = 200
_MOST_VALUES = 100_000


class AnswerJson(JSONProvider):
    """The JSON of Flask's answers: compact, UTF-8, in the order of the keys; a tenth of the standard library's time."""

    def dumps(self, obj: Any, **_options: Any) -> str:
        """Returns a value as JSON."""
        return msgspec.json.encode(obj).decode()

    def loads(self, s: str | bytes, **_options: Any) -> Any:
        """Returns the value of JSON."""
        return msgspec.json.decode(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        """Returns an answer whose body is one line of JSON."""
        body = msgspec.json.encode(self._prepare_response_obj(args, kwargs))
        return Response(body + b"\n", mimetype="application/json")


def read_json(request: Request, settings: ServerSettings, kind: type[T]) -> T:
    """Reads a JSON body.

    Args:
        request: The request; its body must not have been read.
        settings: The limits.
        kind: What it must be.

    Returns:
        The body, as `kind`.

    Raises:
        BodyTooLargeError: The body is larger than the limit.
        MalformedBodyError: The body is empty or no JSON, or a field is unknown, missing or of another type.
        UnsupportedCodingError: It is compressed in an unknown way.
    """
    most = settings.max_body_bytes
    return parse_json(read_body(request, json_limit(most), images_bytes=most), kind)


def parse_json(body: bytes, kind: type[T]) -> T:
    """Parses a JSON body that has been read; see `read_json`."""
    if not body or body.isspace():
        raise MalformedBodyError("expected JSON, received an empty body; send the JSON as the body")
    # Every value becomes an object of twenty times its bytes. One photo has few values, a long conversation thousands.
    if sum(map(body.count, (b",", b"{", b"["))) > _MOST_VALUES:
        raise MalformedBodyError(
            f"expected JSON of at most {_MOST_VALUES:,} values, received more; send images as base64, not as numbers"
        )
    try:
        return msgspec.json.decode(body.removeprefix(_MARK), type=kind)
    except msgspec.ValidationError as error:
        raise MalformedBodyError(f"the JSON is not as described at /docs: {_shortened(error)}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedBodyError(f"expected JSON, received a body that is not JSON: {_shortened(error)}") from error
    except RecursionError as error:
        raise MalformedBodyError("expected JSON, received values that are nested too deep; nest fewer") from error


def images_of(texts: Sequence[str], settings: ServerSettings, example: str = JSON_EXAMPLE) -> list[bytes]:
    """Returns the bytes of photos that were sent as text.

    Args:
        texts: Each in base64, or a data URI of it.
        settings: The limits.
        example: How to send a photo.

    Raises:
        BodyTooLargeError: They have more bytes together than the limit.
        MalformedBodyError: There are none or too many, or one is neither.
    """
    if not 1 <= len(texts) <= settings.max_images:
        raise MalformedBodyError(
            f"expected 1 to {settings.max_images} images in a request, received {len(texts)}; {example}"
        )
    if sum(map(len, texts)) > json_limit(settings.max_body_bytes):
        raise too_large(settings.max_body_bytes, settings.max_body_bytes)
    images = [_image_of(text, example) for text in texts]
    if sum(map(len, images)) > settings.max_body_bytes:
        raise too_large(settings.max_body_bytes, settings.max_body_bytes)
    return images


def _image_of(text: str, example: str) -> bytes:
    text = text.lstrip()  # a pattern would try again at each of ten million spaces
    if _LINK.match(text):
        raise link_refused(example)
    if found := _DATA_URI.match(text):
        text = text[found.end() :]
    if not text or text.isspace():
        raise MalformedBodyError(f"expected an image as base64, received an empty text; {example}")
    try:
        return binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except ValueError as error:
        raise MalformedBodyError(
            f"expected an image as base64, received a text that is not base64, or is cut off; {example}"
        ) from error


def _shortened(error: Exception) -> str:
    text = str(error)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
