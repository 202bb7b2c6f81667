"""How each route that captions takes a photo, as the hostile tests ask it."""

import json
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

FORM = "multipart/form-data; boundary=b"


class Sent(NamedTuple):
    """The headers and the body of a request."""

    headers: dict[str, str]
    body: bytes


def _json(shape: Callable[[str], Any]) -> Callable[[str], Sent]:
    return lambda text: Sent({"Content-Type": "application/json"}, json.dumps(shape(text)).encode())


def _form(text: str) -> Sent:
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    return Sent({"Content-Type": FORM}, head + text.encode() + b"\r\n--b--\r\n")


def _tensor(text: str) -> Sent:
    data = text.encode()
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data) + 4}}
    head = json.dumps({"inputs": [image]}).encode()
    return Sent({"Inference-Header-Content-Length": str(len(head))}, head + struct.pack("<I", len(data)) + data)


def _messages(part: Any) -> list[Any]:
    return [{"role": "user", "content": [part]}]


_INFER = "/v2/models/toy/infer", "/v2/models/toy/versions/1/infer"
_SERVING = "/v1/models/toy:predict", "/v1/models/toy/versions/1:predict"
_CLASSIFY = "/v1/models/toy:classify", "/v1/models/toy/versions/1:classify"

BASE64: Mapping[str, Callable[[str], Sent]] = MappingProxyType(
    {
        "/v1/predict": _json(lambda text: {"image": text}),
        "/v1/chat/completions": _json(
            lambda text: {"messages": _messages({"image_url": {"url": text}}), "stream": True}
        ),
        "/v1/responses": _json(lambda text: {"input": _messages({"image_url": text}), "stream": True}),
        "/api/generate": _json(lambda text: {"model": "any", "images": [text]}),
        "/api/chat": _json(lambda text: {"model": "any", "messages": [{"role": "user", "images": [text]}]}),
        **dict.fromkeys(
            _INFER,
            _json(lambda text: {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}]}),
        ),
        **dict.fromkeys(_SERVING, _json(lambda text: {"instances": [{"b64": text}]})),
        **dict.fromkeys(_CLASSIFY, _json(lambda text: {"examples": [{"image": {"b64": text}}]})),
    }
)
"""From the path of a route to what sends a photo in base64 to it; streams where there are any."""

OTHERWISE: Mapping[str, Callable[[str], Sent]] = MappingProxyType(
    {"/v1/predict": _form, "/model/predict": _form, **dict.fromkeys(_INFER, _tensor)}
)
"""The same where a photo comes in a form or as a tensor; also there text stands for its bytes."""

EveryWay = pytest.mark.parametrize(
    ("path", "sent"),
    [pytest.param(path, sent, id=f"{path}, base64") for path, sent in BASE64.items()]
    + [pytest.param(path, sent, id=f"{path}, otherwise") for path, sent in OTHERWISE.items()],
)
