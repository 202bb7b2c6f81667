"""Requests that mean no good, to every route of every protocol: refused in the protocol's form, at once."""

import base64
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from server.protocols.protocol import Protocol, Route
from server.protocols.table import PROTOCOLS, chosen
from server.settings import ServerSettings
from tests.server.conftest import encoded
from tests.server.protocols.photos_in import EveryWay, Sent
from tests.server.protocols.test_open_inference import elements
from tests.server.protocols.test_table import EveryRoute, check_form, path_of
from tests.server.test_hostile import BOUNDED

LIMIT = ServerSettings().max_body_bytes
TINY = base64.b64encode(encoded(Image.new("RGB", (9, 7), "tomato"), "PNG")).decode()
POSTS = [
    (protocol, path_of(route, "toy"))
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
    "nested rows": b'{"instances":[' + b'{"a":{}},' * (LIMIT // 9 - 100) + b'{}]}',
    "nested tensors": b'{"inputs":[' + b"[[]]," * (LIMIT // 5 - 100) + b"[]]}",
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


NO_PHOTOS = {
    "nearly base64": "A" * (LIMIT - 1000) + "!",
    "no ASCII": "A" * (LIMIT // 2) + "\u00e9",
    "ends alone": "=" * LIMIT,
    "spaces": " \t\x0b" * (LIMIT // 12),
    "spaces of all kinds": "\u2003" * (LIMIT // 6),
    "a data URI without end": "data:" + "a" * (LIMIT - 1000),
    "bytes of zero in base64": "A" * (LIMIT - 1000),
    "a letter": "A",
}


@pytest.mark.parametrize("text", NO_PHOTOS.values(), ids=NO_PHOTOS)
@EveryWay
def test_what_is_no_photo_is_refused_at_once(
    client: FlaskClient, path: str, sent: Callable[[str], Sent], text: str
) -> None:
    headers, body = sent(text)
    begun = time.thread_time()
    response = client.post(path, data=body, headers=headers)
    assert time.thread_time() - begun < 1
    assert response.status_code in (400, 413, 415)
    assert len(response.data) < 1000


WORDS = st.sampled_from(
    ["messages", "input", "role", "user", "content", "image_url", "url", "n", "stream", "logprobs", "text", "format",
     "response_format", "json_schema", "schema", "type", "properties", "caption", "labels", "string", "array", "object",
     "items", "required", "anyOf", "null", "include", "images", "prompt", "json", "model",
     "inputs", "instances", "examples", "b64", "name", "image", "datatype", "BYTES", "shape", "data",
     "parameters", "binary_data_size", "outputs", "classes", "classification"]
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
TENSOR = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [TINY]}
ROWS = st.sampled_from([[{"b64": TINY}], [{"image": {"b64": TINY}, "key": 1}], [TINY, TINY]])
IN_ONE_PLACE: st.SearchStrategy[dict[str, Any]] = (
    st.just({"inputs": [TENSOR]})
    | st.fixed_dictionaries({"instances": ROWS})
    | st.fixed_dictionaries({"inputs": ROWS})
    | st.fixed_dictionaries({"examples": ROWS})
)
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "n": st.integers(1, 3),
    "stream": st.booleans(),
    "prompt": WORDS,
    "logprobs": st.booleans(),
    "response_format": st.fixed_dictionaries(
        {"type": st.just("json_schema"), "json_schema": st.fixed_dictionaries({"schema": SCHEMAS})}
    ),
    "outputs": st.lists(
        st.fixed_dictionaries(
            {"name": st.sampled_from(["caption", "classes", "scores", "log_probability"])},
            optional={"parameters": st.dictionaries(WORDS, st.integers(-1, 21) | st.booleans(), max_size=2)},
        ),
        max_size=3,
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
    body |= draw(IN_ONE_PLACE)
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


TENSORS = [elements(base64.b64decode(TINY)), elements(TINY.encode()), elements(b"", b"GIF89a", b"a")]
BEFORE = b'{"inputs":[{"name":"image","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":'
AFTER = b"}}]}"


@BOUNDED
@given(
    tensor=st.sampled_from(TENSORS) | st.binary(max_size=64),
    cut=st.tuples(st.integers(0, 12), st.binary(max_size=9)),
    size=st.just(0) | st.integers(-(2**70), 2**70) | st.integers(-9, 9),
    length=st.just(0) | st.integers(-(2**70), 2**70) | st.integers(-9, 9),
)
def test_any_lengths_of_a_binary_tensor_are_answered_or_refused(
    client: FlaskClient, tensor: bytes, cut: tuple[int, bytes], size: int, length: int
) -> None:
    """Sizes and lengths are wrong by so much."""
    tail = tensor[: cut[0]] + cut[1] + tensor[cut[0] + len(cut[1]) :]
    head = BEFORE + str(len(tail) + size).encode() + AFTER
    headers = {"Inference-Header-Content-Length": str(len(head) + length)}
    response = client.post("/v2/models/toy/infer", data=head + tail, headers=headers)
    assert response.status_code in (200, 400, 413, 415, 422)
    if response.status_code != 200:
        check_form(PROTOCOLS["open-inference"], response, response.status_code)
        assert len(response.data) < 1000
