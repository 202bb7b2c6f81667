"""Requests that mean no good, to every route of every protocol: refused in the protocol's form, at once."""

import base64
import time
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from server.protocols.protocol import Protocol, Route
from server.protocols.table import chosen
from server.settings import ServerSettings
from tests.server.conftest import encoded
from tests.server.protocols.test_table import EveryRoute, check_form, path_of
from tests.server.test_hostile import BOUNDED

LIMIT = ServerSettings().max_body_bytes
TINY = base64.b64encode(encoded(Image.new("RGB", (9, 7), "tomato"), "PNG")).decode()
POSTS = [
    (protocol, route.operation.path.replace("<model>", "toy"))
    for protocol in chosen(ServerSettings())
    for route in protocol.routes
    if route.operation.method == "post"
]

BODIES = {
    "nothing": b"",
    "spaces": b" " * LIMIT,
    "no JSON": b"a photo",
    "deep arrays": b"[" * LIMIT,
    "deep objects": b'{"a":' * (LIMIT // 5),
    "deep in an unknown field": b'{"unknown":' + b"[" * (LIMIT - 100),
    "nested arrays": b'{"messages":[' + b"[]," * (LIMIT // 3 - 100) + b"[]]}",
    "empty objects": b'{"messages":[' + b"{}," * (LIMIT // 3 - 100) + b'{}],"input":[{}]}',
    "empty objects in an unknown field": b'{"unknown":[' + b"{}," * (LIMIT // 3 - 100) + b"{}]}",
    "a long number": b'{"n":' + b"9" * (LIMIT - 100) + b"}",
    "a long name": b'{"' + b"a" * (LIMIT - 100) + b'":1}',
    "no UTF-8": b'{"messages":"\xff"}',
    "no end": b'{"messages":"' + b"A" * (LIMIT - 100),
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@EveryRoute
def test_hostile_json_is_refused_at_once(client: FlaskClient, protocol: Protocol, route: Route, body: bytes) -> None:
    if route.operation.method == "post":
        begun = time.thread_time()
        response = client.post(path_of(route, "toy"), data=body, content_type="application/json")
        assert time.thread_time() - begun < 1
        check_form(protocol, response, 400)
        assert len(response.data) < 1000


WORDS = st.sampled_from(
    ["messages", "input", "role", "user", "content", "image_url", "url", "n", "stream", "logprobs", "text", "format",
     "response_format", "json_schema", "schema", "type", "properties", "caption", "labels", "string", "array", "object",
     "items", "required", "anyOf", "null", "include", "images", "prompt", "json", "model"]
)  # fmt: skip
PHOTOS = st.sampled_from(
    [TINY, f"data:image/png;base64,{TINY}", f"data:image/png;base64,{TINY[:41]}", "http://10.0.0.1/a"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9) | WORDS | PHOTOS
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=12
)
KINDS = st.sampled_from(["string", "array", "object", "number", "null"]).map(lambda kind: {"type": kind}) | JSON
SCHEMAS = st.fixed_dictionaries({"properties": st.dictionaries(WORDS, KINDS, max_size=3), "required": JSON})
MESSAGES = st.just(
    [{"role": "user", "content": [{"image_url": {"url": TINY}}, {"image_url": TINY}], "images": [TINY, TINY]}]
)
OLLAMA: dict[str, st.SearchStrategy[Any]] = {
    "images": st.just([TINY]),
    "format": st.sampled_from(["", "json", None]) | SCHEMAS,
}
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "n": st.integers(1, 3),
    "stream": st.booleans(),
    "prompt": WORDS,
    "logprobs": st.booleans(),
    "response_format": st.fixed_dictionaries(
        {"type": st.just("json_schema"), "json_schema": st.fixed_dictionaries({"schema": SCHEMAS})}
    ),
    "text": st.fixed_dictionaries(
        {"format": st.fixed_dictionaries({"type": st.just("json_schema"), "schema": SCHEMAS})}
    ),
}
"""Fields of all protocols, with values that some of them take."""


@st.composite
def requests(draw: st.DrawFn) -> Any:
    """Draws a body that a protocol would answer, with some of its fields replaced by others or by anything."""
    body = {"model": "any", "messages": draw(MESSAGES), "input": draw(MESSAGES)}
    body |= draw(st.fixed_dictionaries({}, optional=GOOD))
    body |= draw(st.fixed_dictionaries({}, optional=OLLAMA))
    return body | draw(st.just({}) | st.dictionaries(WORDS, JSON, max_size=2))


@BOUNDED
@given(requests() | JSON, st.sampled_from(POSTS))
def test_any_json_is_answered_or_refused(client: FlaskClient, body: Any, where: tuple[Protocol, str]) -> None:
    protocol, path = where
    response = client.post(path, data=msgspec.json.encode(body), content_type="application/json")
    if response.status_code != 200:
        assert response.status_code in (400, 413, 415, 422)
        check_form(protocol, response, response.status_code)
        assert len(response.data) < 1000
