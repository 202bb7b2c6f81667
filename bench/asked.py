"""The same photo as the clients of each protocol send it."""

import base64
import json
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

JPEG = "image/jpeg"
JSON = "application/json"
OURS = "ours"
FORM = "MAX"
"""The form of IBM MAX: the file is the part `image`."""


class Asked(NamedTuple):
    """A way to ask for one caption of a photo: the path, `{model}` for the model's name, and the headers and body."""

    path: str
    sent: Callable[[bytes], tuple[dict[str, str], bytes]]


def _raw(photo: bytes) -> tuple[dict[str, str], bytes]:
    return {"Content-Type": JPEG}, photo


def _json(body: Callable[[str], dict[str, Any]]) -> Callable[[bytes], tuple[dict[str, str], bytes]]:
    """Returns how JSON is sent, given how it holds a photo in base64."""
    return lambda photo: ({"Content-Type": JSON}, json.dumps(body(base64.b64encode(photo).decode())).encode())


def _chat(photo: str) -> dict[str, Any]:
    image = {"type": "image_url", "image_url": {"url": f"data:{JPEG};base64,{photo}"}}
    return {"model": "any", "messages": [{"role": "user", "content": [image]}]}


def _form(photo: bytes) -> tuple[dict[str, str], bytes]:
    head = b'--end-of-part\r\nContent-Disposition: form-data; name="image"; filename="photo.jpg"\r\n\r\n'
    return {"Content-Type": "multipart/form-data; boundary=end-of-part"}, head + photo + b"\r\n--end-of-part--\r\n"


def _tensor(photo: bytes) -> tuple[dict[str, str], bytes]:
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 4 + len(photo)}}
    head = json.dumps({"inputs": [image], "outputs": [{"name": "caption"}]}).encode()
    return {"Inference-Header-Content-Length": str(len(head))}, head + struct.pack("<I", len(photo)) + photo


ASKED: Mapping[str, Asked] = MappingProxyType(
    {
        OURS: Asked("/v1/predict?captions=1&classes=0", _raw),
        "ours, JSON": Asked("/v1/predict", _json(lambda photo: {"image": photo, "captions": 1, "classes": 0})),
        "OpenAI": Asked("/v1/chat/completions", _json(_chat)),
        "Ollama": Asked("/api/generate", _json(lambda photo: {"model": "any", "images": [photo]})),
        FORM: Asked("/model/predict", _form),
        "Open Inference": Asked("/v2/models/{model}/infer", _tensor),
        "TF Serving": Asked("/v1/models/{model}:predict", _json(lambda photo: {"instances": [{"b64": photo}]})),
    }
)
"""By name. Where a photo is in base64, that is part of what is measured."""
