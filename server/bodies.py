"""Reads a request's body up to a limit, and decompresses it."""

import zlib
from collections.abc import Callable

from flask import Request
from gunicorn.http.errors import ParseException

from server.errors import BodyTooLargeError, MalformedBodyError, UnsupportedCodingError

CODINGS = ("gzip", "deflate")
"""Accepted values of Content-Encoding."""

_BLOCK_BYTES = 64 * 1024
_JSON_BYTES = 64 * 1024
# Values of zlib's `wbits`, one for each wrapping.
_GZIP = 31
_ZLIB = 15
_RAW = -15

Inflate = Callable[[bytes, int], bytes]


def json_limit(max_body_bytes: int) -> int:
    """Returns the most bytes of a JSON body: base64 turns three bytes into four, and there is other JSON around it."""
    return max_body_bytes * 4 // 3 + _JSON_BYTES


def is_coded(request: Request) -> bool:
    """Returns whether a body is compressed, so that its length does not tell how much memory it needs."""
    return bool(_coding(request))


def read_body(request: Request, max_bytes: int, *, images_bytes: int | None = None) -> bytes:
    """Reads a body block by block, so that the limit also holds without a length and after decompression.

    Args:
        request: The request; its body must not have been read.
        max_bytes: Most bytes, before and after decompression.
        images_bytes: Most bytes of the images in it, where that is less.

    Returns:
        The body.

    Raises:
        BodyTooLargeError: The body is larger than the limit.
        MalformedBodyError: The body ends early, or its compression is damaged.
        UnsupportedCodingError: It is compressed in an unknown way.
    """
    length = request.content_length
    body = bytearray()
    received = 0
    if length is not None and length > max_bytes:
        raise too_large(max_bytes, images_bytes)
    coding = _Coding(_coding(request))
    try:
        while block := request.stream.read(_BLOCK_BYTES):
            received += len(block)
            body += coding.inflate(block, max_bytes + 1 - len(body))
            if max(len(body), received) > max_bytes:
                raise too_large(max_bytes, images_bytes)
    except (OSError, ParseException) as error:  # gunicorn's, for malformed chunks and lost connections
        raise MalformedBodyError(
            "expected a whole body, received one that breaks off or has malformed chunks"
        ) from error
    if length is not None and received < length:
        raise MalformedBodyError(f"expected {length} bytes as Content-Length says, received {received}")
    coding.end()
    return bytes(body)


def too_large(max_bytes: int, images_bytes: int | None = None) -> BodyTooLargeError:
    """Returns the error of a body that is too large; with base64 it says what the images may have."""
    if images_bytes is None:
        return BodyTooLargeError(
            f"expected a body of at most {max_bytes} bytes, received more; send fewer or smaller images"
        )
    return BodyTooLargeError(
        f"expected images of at most {images_bytes} bytes in all, which base64 makes a third longer, received more; "
        "send fewer or smaller images"
    )


def _coding(request: Request) -> str:
    name = request.headers.get("Content-Encoding", "").strip().lower().removeprefix("x-")
    return "" if name == "identity" else name


class _Coding:
    """The compression of one body.

    Args:
        name: As in `Content-Encoding`; empty for none.
    """

    def __init__(self, name: str) -> None:
        if name and name not in CODINGS:
            raise UnsupportedCodingError(
                f"expected a body compressed by {' or '.join(CODINGS)}, or not at all, received {name[:50]!r}; send it "
                "as it is, without Content-Encoding"
            )
        self._name = name
        self._object = zlib.decompressobj(_GZIP) if name == "gzip" else None

    def inflate(self, block: bytes, most: int) -> bytes:
        """Returns the next bytes, `most` of them at most."""
        if not self._name:
            return block
        if self._object is None:
            # `deflate` means zlib's format (RFC 9110, 8.4.1.2). Some clients send it raw, which never begins so.
            self._object = zlib.decompressobj(_ZLIB if block[0] & 15 == 8 else _RAW)
        try:
            return self._object.decompress(block, most)
        except zlib.error as error:
            raise self._damaged() from error

    def end(self) -> None:
        """Makes sure that the compressed body was whole."""
        if self._object is not None and (not self._object.eof or self._object.unused_data):
            raise self._damaged()

    def _damaged(self) -> MalformedBodyError:
        return MalformedBodyError(
            f"expected one whole body compressed by {self._name}, as Content-Encoding says, received one that is "
            "damaged, cut off or followed by more; send it as it is, without Content-Encoding"
        )
