"""Reads the images of a request: from a multipart form, or as the body itself."""

from flask import Request
from gunicorn.http.errors import ParseException
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

from server.errors import BodyTooLargeError, MalformedBodyError
from server.settings import ServerSettings

FIELD = "image"
"""Name of the form field that holds an image."""

_BLOCK_BYTES = 64 * 1024
_HEAD_BYTES = 8 * 1024
_HINT = f"send the images as multipart/form-data in the field {FIELD!r}, or one image as the body"


def read_uploads(request: Request, settings: ServerSettings) -> list[bytes]:
    """Reads the bytes of a request's images, without decoding them.

    A body that is not `multipart/form-data` is one image, whatever its content type: many clients send none or a wrong
    one.

    Args:
        request: The request; its body must not have been read.
        settings: The limits.

    Returns:
        The bytes of each image; at least one.

    Raises:
        BodyTooLargeError: The body is larger than the limit.
        MalformedBodyError: The body is empty, ends early, is no proper form or has fields that are unknown or too many.
    """
    body = _read_body(request, settings.max_body_bytes)
    if not body:
        raise MalformedBodyError(f"expected an image, received an empty body; {_HINT}")
    if request.mimetype != "multipart/form-data":
        return [body]
    try:
        # latin-1 cannot fail; a boundary that is not ASCII simply does not occur in the body.
        boundary = request.mimetype_params.get("boundary", "").encode("latin-1", "replace")
        return _read_form(body, boundary, settings.max_images)
    except ValueError as error:
        raise MalformedBodyError(
            f"expected a multipart form, received one that is cut off or damaged; {_HINT}"
        ) from error


def _read_body(request: Request, max_bytes: int) -> bytes:
    """Reads the body block by block, so that a body without a length is limited too."""
    too_large = BodyTooLargeError(
        f"expected a body of at most {max_bytes} bytes, received more; send fewer or smaller images"
    )
    length = request.content_length
    if length is not None and length > max_bytes:
        raise too_large
    body = bytearray()
    try:
        while block := request.stream.read(_BLOCK_BYTES):
            body += block
            if len(body) > max_bytes:
                raise too_large
    except (OSError, ParseException) as error:  # gunicorn's, for malformed chunks and lost connections
        raise MalformedBodyError(
            "expected a whole body, received one that breaks off or has malformed chunks"
        ) from error
    if length is not None and len(body) < length:
        raise MalformedBodyError(f"expected {length} bytes as Content-Length says, received {len(body)}")
    return bytes(body)


def _read_form(body: bytes, boundary: bytes, max_images: int) -> list[bytes]:
    """Reads the parts into memory; werkzeug's own reader would write large ones to disk."""
    decoder = MultipartDecoder(boundary)
    images: list[list[bytes]] = []
    # In blocks, because the search for the boundary in one block holds the GIL.
    for block in (*(body[at : at + _BLOCK_BYTES] for at in range(0, len(body), _BLOCK_BYTES)), None):
        decoder.receive_data(block)
        while not isinstance(event := _next_event(decoder), NeedData | Epilogue):
            if isinstance(event, Data):
                images[-1].append(event.data)
            elif isinstance(event, Field | File):
                _check_field(event.name, len(images), max_images)
                images.append([])
    if not images:
        raise MalformedBodyError(f"expected the field {FIELD!r} at least once, received a form without fields; {_HINT}")
    return [b"".join(parts) for parts in images]


def _check_field(name: str, before: int, max_images: int) -> None:
    if name != FIELD:
        raise MalformedBodyError(f"expected only the field {FIELD!r}, received the field {str(name)[:50]!r}")
    if before == max_images:
        raise MalformedBodyError(
            f"expected at most {max_images} images in a request, received more; send them in parts"
        )


def _next_event(decoder: MultipartDecoder) -> Event:
    """Returns the next event, unless the preamble or a part's headers are too long.

    Clients send a hundred bytes there. Searching ten million would hold the GIL for seconds.
    """
    ends = {State.PREAMBLE: decoder.preamble_re, State.PART: BLANK_LINE_RE}
    end = ends.get(decoder.state)
    if end and len(decoder.buffer) > _HEAD_BYTES and not end.search(decoder.buffer, 0, _HEAD_BYTES):
        raise ValueError(f"expected at most {_HEAD_BYTES} bytes in front of the data of a part, received more")
    return decoder.next_event()
