"""Reads the images of a request: from a multipart form, or as the body itself."""

import re
from typing import NamedTuple

from flask import Request
from werkzeug.sansio.multipart import (
    BLANK_LINE_RE,
    Data,
    Epilogue,
    Event,
    Field,
    File,
    MultipartDecoder,
    NeedData,
    State,
)

from server.envelopes import PREDICT_ADVICE, Advice, refuse_envelope
from server.errors import MalformedBodyError

FIELD = "image"
"""Name of the form field that holds an image."""

_BLOCK_BYTES = 64 * 1024
_HEAD_BYTES = 8 * 1024
_LETTER = re.compile(rb"[\x80-\xff][\x40-\x7e]?")


class _Part(NamedTuple):
    """One part of a form; without a file name it is a field of text."""

    filename: str | None
    blocks: list[bytes]


def images_in(body: bytes, request: Request, max_images: int, advice: Advice = PREDICT_ADVICE) -> list[bytes]:
    """Returns the bytes of a request's images, without decoding them.

    A body that is not `multipart/form-data` is one image, whatever its content type: many clients send none or a wrong
    one.

    Args:
        body: The request's body.
        request: The request.
        max_images: Most images.
        advice: What to tell who sends something else.

    Returns:
        The bytes of each image; at least one.

    Raises:
        MalformedBodyError: The body is empty, is no proper form, has fields that are unknown or too many, or shows that
            it is no photo but something else that people send.
    """
    if not body:
        raise MalformedBodyError(f"expected an image, received an empty body; {advice.hint}, {advice.example}")
    if request.mimetype != "multipart/form-data":
        refuse_envelope(body, advice)
        return [body]
    # latin-1 cannot fail; a boundary that is not ASCII simply does not occur in the body.
    boundary = request.mimetype_params.get("boundary", "").encode("latin-1", "replace")
    if not boundary:
        raise MalformedBodyError(
            "expected a boundary in Content-Type: multipart/form-data, received none; let the client set Content-Type "
            f"itself, {advice.example}"
        )
    try:
        return _read_form(body, boundary, max_images, advice)
    except ValueError as error:
        raise MalformedBodyError(
            f"expected a multipart form, received one that is cut off or damaged; {advice.hint}"
        ) from error


def _read_form(body: bytes, boundary: bytes, max_images: int, advice: Advice) -> list[bytes]:
    """Reads the parts into memory; werkzeug's own reader would write large ones to disk."""
    decoder = MultipartDecoder(boundary)
    parts: list[_Part] = []
    # In blocks, because the search for the boundary in one block holds the GIL.
    for block in (*(body[at : at + _BLOCK_BYTES] for at in range(0, len(body), _BLOCK_BYTES)), None):
        decoder.receive_data(block)
        while not isinstance(event := _next_event(decoder), NeedData | Epilogue):
            if isinstance(event, Data):
                parts[-1].blocks.append(event.data)
            elif isinstance(event, Field | File):
                _check_field(event.name, len(parts), max_images, advice)
                parts.append(_Part(event.filename if isinstance(event, File) else None, []))
    if not parts:
        raise MalformedBodyError(
            f"expected the field {FIELD!r} at least once, received a form without fields; {advice.hint}, "
            f"{advice.example}"
        )
    return [_image_of(part, advice) for part in parts]


def _image_of(part: _Part, advice: Advice) -> bytes:
    data = b"".join(part.blocks)
    if not data and not part.filename:
        raise MalformedBodyError(
            f"expected a file in the field {FIELD!r}, received a form in which none was chosen; choose a photo, "
            f"{advice.example}"
        )
    if part.filename is None:
        refuse_envelope(data, advice, is_field=True)
    return data


def _check_field(name: str, before: int, max_images: int, advice: Advice) -> None:
    if name in advice.parameters:
        raise MalformedBodyError(
            f"expected only the field {FIELD!r}, received the parameter {name!r} as a field; put it into the query, "
            f"for example: curl -F image=@photo.jpg '{advice.url}?{name}=2'"
        )
    if name != FIELD:
        raise MalformedBodyError(
            f"expected only the field {FIELD!r}, received the field {str(name)[:50]!r}; {advice.example}"
        )
    if before == max_images:
        most = "one image" if max_images == 1 else f"at most {max_images} images"
        raise MalformedBodyError(f"expected {most} in a request, received more; send them in parts")


def _next_event(decoder: MultipartDecoder) -> Event:
    """Returns the next event, unless the preamble or a part's headers are too long.

    Clients send a hundred bytes there. Searching ten million would hold the GIL for seconds.
    """
    ends = {State.PREAMBLE: decoder.preamble_re, State.PART: BLANK_LINE_RE}
    end = ends.get(decoder.state)
    if end:
        found = end.search(decoder.buffer, 0, _HEAD_BYTES)
        if found is None and len(decoder.buffer) > _HEAD_BYTES:
            raise ValueError(f"expected at most {_HEAD_BYTES} bytes in front of the data of a part, received more")
        if found and decoder.state is State.PART:
            decoder.buffer[: found.start()] = _readable(decoder.buffer[: found.start()])
    return decoder.next_event()


def _readable(head: bytearray) -> bytes:
    """Returns a part's headers as ASCII where they are not UTF-8: a file name is in the client's own encoding.

    In some (Shift-JIS, GBK) the second byte of a letter looks like a backslash, which would hide the quote behind it.
    """
    try:
        head.decode()
    except UnicodeDecodeError:
        return _LETTER.sub(b"?", head)
    return bytes(head)
