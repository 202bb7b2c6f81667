"""Tensors of the Open Inference Protocol whose parts disagree: each is refused with its reason."""

import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from server.bodies import json_limit
from server.description.schemas import reference
from server.settings import ServerSettings
from tests.server.conftest import encoded
from tests.server.protocols.test_open_inference import LENGTH, MODEL, ask, ask_behind, elements, tensor, text_of
from tests.server.protocols.test_table import check

GOOD = "iVBORw0KGgo="

Refused = Callable[[FlaskClient, bytes], TestResponse]


def posted(inputs: Any, **fields: Any) -> Refused:
    return lambda client, _: client.post(f"{MODEL}/infer", json={"inputs": inputs, **fields})


def behind(tail: Callable[[bytes], bytes], *, shape: Sequence[int] = (1,)) -> Refused:
    return lambda client, photo: ask_behind(client, tail(photo), shape)


def headed(length: str, size: int | None = None) -> Refused:
    """Returns a request with a photo behind the JSON whose lengths are these, where given."""

    def send(client: FlaskClient, photo: bytes) -> TestResponse:
        tail = elements(photo)
        parameters = {"binary_data_size": len(tail) if size is None else size}
        inputs = [{"name": "image", "datatype": "BYTES", "shape": [1], "parameters": parameters}]
        head = json.dumps({"inputs": inputs}).encode()
        length_header = {LENGTH: length.format(len(head), len(head) + 1, len(head) - 1, len(head + tail) + 1)}
        return client.post(f"{MODEL}/infer", data=head + tail, headers=length_header)

    return send


HUGE = 2**32 - 1
REFUSED: dict[str, tuple[Refused, str]] = {
    "no input": (posted([]), "length >= 1"),
    "two inputs": (posted([tensor([GOOD], [1])] * 2), "length <= 1"),
    "another name": (posted([tensor([GOOD], [1], name="pixels")]), "pixels"),
    "another type": (posted([tensor([GOOD], [1], datatype="UINT8")]), "UINT8"),
    "numbers": (posted([tensor([1, 2, 3], [3])]), "got `int`"),
    "no data": (posted([tensor(None, [1])]), "binary_data_size"),
    "no element": (posted([tensor([], [0])]), "1 to 16 images"),
    "too many elements": (posted([tensor([GOOD] * 17, [17])]), "1 to 16 images"),
    "another shape": (posted([tensor([GOOD], [2])]), "shape [1]"),
    "a huge shape": (posted([tensor([GOOD], [2**31 - 1, 2**31 - 1])]), "shape [1]"),
    "a shape beyond integers": (posted([tensor([GOOD], [10**30])]), "shape"),
    "a shape below zero": (posted([tensor([GOOD], [-1])]), "shape"),
    "a shape of many sides": (posted([tensor([GOOD], [1] * 1000)]), "shape"),
    "a URL": (posted([tensor(["http://10.0.0.1/a.jpg"], [1])]), "never fetches"),
    "broken base64": (posted([tensor(["iVBOR"], [1])]), "base64"),
    "an unknown output": (posted([tensor([GOOD], [1])], outputs=[{"name": "mood"}]), "mood"),
    "an output twice": (posted([tensor([GOOD], [1])], outputs=[{"name": "caption"}] * 2), "once"),
    "too many classes": (
        posted([tensor([GOOD], [1])], outputs=[{"name": "classes", "parameters": {"classification": 21}}]),
        "classification",
    ),
    "a long id": (posted([tensor([GOOD], [1])], id="a" * 201), "length <= 200"),
    "sizes without the header": (
        posted([tensor(None, [1], parameters={"binary_data_size": 12})]), "Inference-Header-Content-Length",
    ),
    "shared memory": (posted([tensor(None, [1], parameters={"shared_memory_region": "a"})]), "binary_data_size"),
    "an element beyond the end": (behind(lambda photo: struct.pack("<I", len(photo) + 1) + photo), "beyond the end"),
    "a huge element": (behind(lambda photo: struct.pack("<I", HUGE) + photo), "beyond the end"),
    "big-endian": (behind(lambda photo: struct.pack(">I", len(photo)) + photo), "beyond the end"),
    "half a length": (behind(lambda photo: elements(photo) + b"\1"), "beyond the end"),
    "nothing behind": (behind(lambda _: b""), "received none"),
    "empty elements": (behind(lambda _: bytes(4 * 3), shape=(3,)), "empty text"),
    "millions of empty elements": (behind(lambda _: bytes(4_000_000)), "received more"),
    "another shape behind": (behind(elements, shape=(2,)), "shape [1]"),
    "a URL behind": (behind(lambda _: elements(b"https://example.org/a.jpg")), "never fetches"),
    "a name behind": (behind(lambda _: elements(b"photo.jpg")), "base64"),
    "a length of one less": (headed("{2}"), "received a body that is not JSON"),
    "a length of one more": (headed("{1}"), "received a body that is not JSON"),
    "a length beyond the body": (headed("{3}"), "at most the body's"),
    "no length": (headed("0"), "at most the body's"),
    "a length below zero": (headed("-{0}"), "at most the body's"),
    "a length with a sign": (headed("+{0}"), "at most the body's"),
    "a length of words": (headed("all of it"), "at most the body's"),
    "an endless length": (headed("9" * 4000), "at most the body's"),
    "a size below zero": (headed("{0}", -1), "binary_data_size"),
    "a size too small": (headed("{0}", 5), "received 5 bytes"),
    "a huge size": (headed("{0}", 10**30), "binary_data_size"),
}  # fmt: skip


@pytest.mark.parametrize(("send", "words"), REFUSED.values(), ids=REFUSED)
def test_what_disagrees_is_refused_with_its_reason(
    client: FlaskClient, photo: bytes, send: Refused, words: str
) -> None:
    response = send(client, photo)
    assert response.status_code == 400, response.text
    answer = response.get_json()
    check(reference("InferError"), answer)
    assert words in answer["error"]
    assert len(response.data) < 1000


def test_data_in_both_places_is_refused(client: FlaskClient, photo: bytes) -> None:
    tail = elements(photo)
    for parameters in ({"binary_data_size": len(tail)}, {}):
        head = json.dumps({"inputs": [tensor([text_of(photo)], [1], parameters=parameters)]}).encode()
        response = client.post(f"{MODEL}/infer", data=head + tail, headers={LENGTH: str(len(head))})
        assert response.status_code == 400, response.text


def test_a_bad_photo_among_several_is_named(client: FlaskClient, photo: bytes) -> None:
    response = ask_behind(client, elements(photo, b"\xff\xd8 no photo"), [2])
    assert response.status_code in (415, 422)
    assert response.get_json()["error"].startswith("image 2 of 2: ")


def test_the_limit_counts_what_photos_have_in_either_form(client: FlaskClient) -> None:
    limit = ServerSettings().max_body_bytes
    tiny = encoded(Image.new("RGB", (9, 7), "tomato"), "PNG")
    for send in (ask, lambda client, data: ask_behind(client, elements(data))):
        assert send(client, tiny.ljust(limit, b"\0")).status_code == 200
        assert send(client, tiny.ljust(limit + 1, b"\0")).status_code == 413
    assert ask_behind(client, elements(bytes(json_limit(limit)))).status_code == 413
