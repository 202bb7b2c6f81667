"""Reads requests of the Open Inference Protocol: one tensor of photos, as base64 in the JSON or as bytes behind it."""

import itertools

from flask import request

from server.bodies import json_limit, read_body
from server.errors import MalformedBodyError
from server.protocols.asking import Asker, Wish
from server.protocols.inference.requests import (
    CLASSES,
    LENGTH_HEADER,
    OUTPUTS,
    Form,
    InferBody,
    InferInput,
    InferOutputParameters,
    Output,
)
from server.protocols.inference.tensors import EXAMPLE, read_photos
from server.typed_json import parse_json


def read_infer(asker: Asker) -> Wish[Form]:
    """Reads the current request.

    Raises:
        BodyTooLargeError: The body, or the photos in it, have too many bytes.
        MalformedBodyError: It is no request of this protocol, or its lengths disagree.
    """
    most = asker.settings.max_body_bytes
    data = read_body(request, json_limit(most), images_bytes=most)
    head, tail = _parts(data)
    body = parse_json(head, InferBody)
    (tensor,) = body.inputs
    size = tensor.parameters.binary_data_size if tensor.parameters else None
    if tail is None or size is None:
        images = asker.images(_texts(tensor, bool(tail)), EXAMPLE)
    else:
        images = read_photos(asker, tail, size, has_data=tensor.data is not None)
    if tensor.shape not in ([len(images)], [len(images), 1]):
        raise MalformedBodyError(
            f"expected the shape [{len(images)}], as there are photos, received {tensor.shape}; correct one of them"
        )
    outputs = _outputs(body)
    return Wish(images=images, rest=Form(body.id, outputs), classes=_classes(body, outputs))


def _parts(data: bytes) -> tuple[bytes, memoryview | None]:
    """Returns the JSON, and the binary data behind it if the header tells the JSON's length."""
    text = request.headers.get(LENGTH_HEADER)
    if text is None:
        return data, None
    length = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else -1
    if not 0 < length <= len(data):
        raise MalformedBodyError(
            f"{LENGTH_HEADER}: expected the bytes of the JSON at the body's start, at most the body's {len(data)}, "
            f"received {text[:50]!r}; send that, or leave the header out where there is JSON alone"
        )
    return data[:length], memoryview(data)[length:]


def _texts(tensor: InferInput, has_tail: bool) -> list[str]:
    if tensor.data is None or has_tail or (tensor.parameters and tensor.parameters.binary_data_size is not None):
        raise MalformedBodyError(
            f"expected the photos as base64 in data, or as bytes behind the JSON with binary_data_size and the header "
            f"{LENGTH_HEADER}, received neither or parts of both; {EXAMPLE}"
        )
    rows = ([item] if isinstance(item, str) else item for item in tensor.data)
    return list(itertools.chain.from_iterable(rows))


def _outputs(body: InferBody) -> list[Output]:
    is_binary = bool(body.parameters and body.parameters.binary_data_output)
    if not body.outputs:
        return [Output(name, is_binary) for name in OUTPUTS]
    outputs = []
    for wanted in body.outputs:
        own = wanted.parameters or InferOutputParameters()
        binary = is_binary if own.binary_data is None else own.binary_data
        outputs.append(Output(wanted.name, binary, wanted.name == "classes" and bool(own.classification)))
    if len({output.name for output in outputs}) < len(outputs):
        raise MalformedBodyError("expected each output once, received one of them twice; ask for it once")
    return outputs


def _classes(body: InferBody, outputs: list[Output]) -> int:
    """Returns how many classes are wanted."""
    if not any(output.name in ("classes", "scores") for output in outputs):
        return 0
    counts = [item.parameters.classification for item in body.outputs or () if item.parameters]
    return max((count for count in counts if count), default=CLASSES)
