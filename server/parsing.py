"""Parses HTTP requests by gunicorn's parser, but as strictly as RFC 9112."""

import os
import re
from collections.abc import Callable
from typing import Any

from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.errors import (
    InvalidChunkSize,
    InvalidHeader,
    LimitRequestHeaders,
    LimitRequestLine,
    UnsupportedTransferCoding,
)
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser

HEAD_BYTES = 32 * 1024
"""Largest head of a request."""

SKIPPED_BYTES = 64 * 1024
"""Longest unread body that is skipped to keep the connection; after a longer one it is closed."""

SMALL_BODY_BYTES = 256 * 1024
"""Longest body that is received before a thread takes the request."""

_LINE_BYTES = 8190
_END = b"\r\n\r\n"
_BARE_LF = re.compile(rb"(?<!\r)\n")
_HOST = re.compile(r"(\[[0-9A-Za-z:.%_~-]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]{0,5})?")
_SMALL_CHUNK_BYTES = 40
_FREE_CHUNKS = 250


def has_whole_head(received: bytearray, searched: int) -> bool:
    """Returns whether bytes contain the whole head of a request.

    Args:
        received: The bytes.
        searched: How many of them were searched before.

    Raises:
        ParseException: They cannot become the head of a request.
    """
    if received.find(_END, max(0, searched - len(_END))) >= 0:
        return True
    if _BARE_LF.search(received, max(0, searched - 1)):
        raise InvalidHeader("bare LF as line terminator")
    if len(received) > HEAD_BYTES:
        line = received.find(b"\r\n")
        raise LimitRequestHeaders("head") if 0 <= line <= _LINE_BYTES else LimitRequestLine(len(received), _LINE_BYTES)
    return False


class StrictRequest(Request):  # type: ignore[misc]
    """A request with a valid host, and with a body whose framing is unambiguous."""

    body: "AnnouncedBody"

    def set_body_reader(self) -> None:
        """Chooses how the body is read; called by gunicorn once the head is read.

        Raises:
            InvalidHeader: `Host` is missing or malformed, or the last transfer coding is not `chunked`.
            UnsupportedTransferCoding: There is another transfer coding.
        """
        self._check_host()
        self._check_codings()
        super().set_body_reader()
        reader = self.body.reader
        self.body = AnnouncedBody(_FewChunks(self, self.unreader) if isinstance(reader, ChunkedReader) else reader)

    @property
    def has_body(self) -> bool:
        """Whether a body was announced."""
        return self.unread_bytes != 0

    @property
    def unread_bytes(self) -> int | None:
        """How many bytes of the body the application has not read; None if unknown."""
        reader = self.body.reader
        if self.body.failed:
            return None
        if isinstance(reader, LengthReader):
            return int(reader.length)
        return 0 if reader.parser is None else None

    @property
    def missing_bytes(self) -> int:
        """How many bytes of a small body of known length have not arrived; 0 for any other body."""
        unread = self.unread_bytes or 0
        if unread > SMALL_BODY_BYTES or self._expected_100_continue:
            return 0
        return max(0, unread - self.arrived_bytes)

    @property
    def has_small_body(self) -> bool:
        """Whether the whole body is small and has arrived."""
        unread = self.unread_bytes
        return unread is not None and unread <= min(SMALL_BODY_BYTES, self.arrived_bytes)

    @property
    def arrived_bytes(self) -> int:
        """How many bytes have arrived behind the head."""
        return int(self.unreader.buf.getbuffer().nbytes)

    def should_close(self) -> bool:
        """Returns whether the connection must close after this request."""
        unread = self.unread_bytes
        if unread is None or unread > SKIPPED_BYTES or self.must_close or self.method == "CONNECT":
            return True
        options = {option.strip().lower() for option in ",".join(self._values("CONNECTION")).split(",")}
        return "close" in options or (self.version <= (1, 0) and "keep-alive" not in options)

    def _values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def _check_host(self) -> None:
        hosts = self._values("HOST")
        if (not hosts and self.version >= (1, 1)) or not all(map(_HOST.fullmatch, hosts)):
            raise InvalidHeader("HOST", req=self)

    def _check_codings(self) -> None:
        codings = [
            coding.strip(" \t").lower() for value in self._values("TRANSFER-ENCODING") for coding in value.split(",")
        ]
        if "chunked" in codings[:-1]:
            raise InvalidHeader("TRANSFER-ENCODING", req=self)
        # Undecoded, gzip's bytes would be taken for the body.
        if any(coding != "chunked" for coding in codings):
            raise UnsupportedTransferCoding(", ".join(codings))


class AnnouncedBody(Body):  # type: ignore[misc]
    """A body that reports reads.

    Attributes:
        on_read: Called before each read.
    """

    on_read: Callable[[], None] | None = None

    def _read_reader(self, size: int) -> Any:
        if self.on_read is not None:
            self.on_read()
        return super()._read_reader(size)


class StrictParser(RequestParser):  # type: ignore[misc]
    """The parser of one connection's requests."""

    mesg_class = StrictRequest

    def next_request(self, head: bytes) -> StrictRequest:
        """Returns the request that begins with these bytes.

        Raises:
            ParseException: They are no valid request.
        """
        self.unreader.unread(head)
        self.mesg = None  # the rest of the request before has been taken
        request: StrictRequest = next(self)
        return request

    def add(self, data: bytes) -> None:
        """Adds bytes received behind the head of the last request."""
        self.unreader.buf.seek(0, os.SEEK_END)
        self.unreader.buf.write(data)

    def take_rest(self) -> bytearray:
        """Removes and returns the bytes received behind the last request."""
        return bytearray(self.unreader.take_buffered())


class _FewChunks(ChunkedReader):  # type: ignore[misc]
    """A chunk reader that refuses very many small chunks: parsing them would hold the GIL for too long."""

    def __init__(self, request: StrictRequest, unreader: Any) -> None:
        super().__init__(request, unreader)
        self._chunks = 0
        self._bytes = 0

    def parse_chunk_size(self, unreader: Any, data: bytes | None = None) -> Any:
        size, rest = super().parse_chunk_size(unreader, data)
        self._chunks = self._chunks + 1
        self._bytes = self._bytes + size
        if self._chunks > _FREE_CHUNKS + self._bytes // _SMALL_CHUNK_BYTES:
            raise InvalidChunkSize(b"too many small chunks")
        return size, rest
