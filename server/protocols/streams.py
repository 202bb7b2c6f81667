"""Answers in parts, for clients that ask for a stream.

A caption is found as a whole, so all parts are known before the first one is sent: the answer has a length, the
deadline covers it, errors keep their statuses, and a client that leaves in the middle costs no more than others.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from flask import Response

from server.problems import Json

EVENTS: Json = {
    "text/event-stream": {
        "schema": {
            "type": "object",
            "description": "One event; its data are JSON, or the text that ends the stream.",
            "required": ["data"],
            "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
        }
    }
}
"""Schema of the events of a stream, for the description of an operation."""


def server_sent_events(events: Iterable[Any], *, end: str = "") -> Response:
    """Returns events as `text/event-stream`.

    Args:
        events: What to send as JSON; a dictionary with a `type` has it as the event's name too.
        end: Text of the last event.
    """
    parts: list[bytes] = []
    for event in events:
        if isinstance(event, dict) and "type" in event:
            parts.append(f"event: {event['type']}\n".encode())
        parts += (b"data: ", msgspec.json.encode(event), b"\n\n")
    if end:
        parts.append(f"data: {end}\n\n".encode())
    return Response(b"".join(parts), content_type="text/event-stream; charset=utf-8")


def json_lines(items: Iterable[Any]) -> Response:
    """Returns items as JSON, one a line."""
    lines = b"".join(msgspec.json.encode(item) + b"\n" for item in items)
    return Response(lines, content_type="application/x-ndjson")


def as_json(answer: Any) -> Response:
    """Returns a whole answer as JSON."""
    return Response(msgspec.json.encode(answer), content_type="application/json")
