"""The Open Inference Protocol: the same captions as ours, as tensors in the JSON and behind it."""

import base64
import gzip
import json
import struct
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from server.app import create_app
from server.batching import InferenceQueue
from server.decoding.pool import DecodingPool
from server.description.schemas import reference
from server.metrics import ServerMetrics
from server.settings import ServerSettings
from tests.server.conftest import encoded
from tests.server.protocols.test_table import KEY, check

MODEL = "/v2/models/toy"
LENGTH = "Inference-Header-Content-Length"
NAMES = ["caption", "log_probability", "classes", "scores"]


@pytest.fixture(scope="module")
def other() -> bytes:
    """Returns a picture unlike `photo`."""
    return encoded(Image.linear_gradient("L").convert("RGB"), "JPEG")


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def tensor(data: Any, shape: Sequence[int], **fields: Any) -> dict[str, Any]:
    return {"name": "image", "datatype": "BYTES", "shape": [*shape], "data": data, **fields}


def elements(*data: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(item)) + item for item in data)


def ask(client: FlaskClient, *photos: bytes, path: str = MODEL, **fields: Any) -> TestResponse:
    """Returns the answer to photos in the JSON."""
    data = [text_of(photo) for photo in photos]
    return client.post(f"{path}/infer", json={"inputs": [tensor(data, [len(photos)])], **fields})


def ask_behind(client: FlaskClient, tail: bytes, shape: Sequence[int] = (1,), **fields: Any) -> TestResponse:
    """Returns the answer to photos behind the JSON."""
    size = {"binary_data_size": len(tail)}
    inputs = [{"name": "image", "datatype": "BYTES", "shape": [*shape], "parameters": size}]
    head = json.dumps({"inputs": inputs, **fields}).encode()
    return client.post(f"{MODEL}/infer", data=head + tail, headers={LENGTH: str(len(head))})


def predicted(client: FlaskClient, *photos: bytes, classes: int = 5) -> list[Any]:
    """Returns what our own endpoint says."""
    found = [client.post(f"/v1/predict?captions=1&classes={classes}", data=photo).get_json() for photo in photos]
    return [answer["results"][0] for answer in found]


def outputs_of(response: TestResponse) -> dict[str, list[Any]]:
    """Returns the elements of every output, wherever they are."""
    assert response.status_code == 200, response.text
    length = int(response.headers.get(LENGTH, len(response.data)))
    answer = json.loads(response.data[:length])
    offset = length
    found = {}
    check(reference("InferAnswer"), answer)
    for output in answer["outputs"]:
        values = output.get("data")
        if values is None:
            size = output["parameters"]["binary_data_size"]
            values = unpacked(output["datatype"], response.data[offset : offset + size])
            offset = offset + size
        count = 1
        for side in output["shape"]:
            count *= side
        assert len(values) == count
        found[output["name"]] = values
    assert offset == len(response.data)
    return found


def unpacked(datatype: str, data: bytes) -> list[Any]:
    if datatype == "FP32":
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    values = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        values.append(data[4 : 4 + length].decode())
        data = data[4 + length :]
    return values


def check_outputs(found: dict[str, list[Any]], expected: list[Any]) -> None:
    captions = [item["captions"][0] for item in expected]
    classes = [one for item in expected for one in item["classes"]]
    assert list(found) == NAMES
    assert found["caption"] == [caption["text"] for caption in captions]
    assert found["log_probability"] == pytest.approx([caption["log_probability"] for caption in captions], rel=1e-5)
    assert found["classes"] == [item["label"] for item in classes]
    assert found["scores"] == pytest.approx([item["probability"] for item in classes], rel=1e-5)


@pytest.mark.parametrize("binary", [False, True])
def test_photos_as_base64_are_captioned_in_either_form(
    client: FlaskClient, photo: bytes, other: bytes, binary: bool
) -> None:
    response = ask(client, photo, other, id="mine", parameters={"binary_data_output": binary, "priority": 1})
    assert (LENGTH in response.headers) == binary
    check_outputs(outputs_of(response), predicted(client, photo, other))
    head = json.loads(response.data[: int(response.headers.get(LENGTH, len(response.data)))])
    assert (head["id"], head["model_name"], head["model_version"]) == ("mine", "toy", "1")


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_photos_behind_the_json_are_captioned(
    client: FlaskClient, photo: bytes, other: bytes, shape: Sequence[int]
) -> None:
    found = outputs_of(ask_behind(client, elements(photo, other), shape))
    check_outputs(found, predicted(client, photo, other))


def test_rows_of_one_are_elements(client: FlaskClient, photo: bytes, other: bytes) -> None:
    rows = tensor([[text_of(photo)], [text_of(other)]], [2, 1])
    found = outputs_of(client.post(f"{MODEL}/infer", json={"inputs": [rows]}))
    check_outputs(found, predicted(client, photo, other))


def test_base64_behind_the_json_is_read_as_such(client: FlaskClient, photo: bytes) -> None:
    found = outputs_of(ask_behind(client, elements(text_of(photo).encode())))
    check_outputs(found, predicted(client, photo))


def test_the_length_of_the_json_counts_what_is_compressed(client: FlaskClient, photo: bytes) -> None:
    tail = elements(photo)
    size = {"binary_data_size": len(tail)}
    inputs = [{"name": "image", "datatype": "BYTES", "shape": [1], "parameters": size}]
    head = json.dumps({"inputs": inputs}).encode()
    headers = {LENGTH: str(len(head)), "Content-Encoding": "gzip"}
    response = client.post(f"{MODEL}/infer", data=gzip.compress(head + tail), headers=headers)
    check_outputs(outputs_of(response), predicted(client, photo))


def test_only_the_outputs_that_are_asked_for_come_each_in_its_form(client: FlaskClient, photo: bytes) -> None:
    wanted = [
        {"name": "classes", "parameters": {"classification": 7, "binary_data": True}},
        {"name": "caption", "parameters": {"binary_data": False}},
    ]
    response = ask(client, photo, outputs=wanted, parameters={"binary_data_output": True})
    found = outputs_of(response)
    (expected,) = predicted(client, photo, classes=7)
    assert list(found) == ["classes", "caption"]
    assert found["caption"] == [expected["captions"][0]["text"]]
    for text, item in zip(found["classes"], expected["classes"], strict=True):
        score, name, label = text.split(":")
        assert (name, label) == (item["id"], item["label"])
        assert float(score) == pytest.approx(item["probability"], abs=1e-6)


def test_a_model_and_the_server_say_what_they_are(client: FlaskClient) -> None:
    assert set(client.get("/v2").get_json()) == {"name", "version", "extensions"}
    for path in (MODEL, f"{MODEL}/versions/1"):
        model = client.get(path).get_json()
        check(reference("InferModel"), model)
        assert [output["name"] for output in model["outputs"]] == NAMES
        assert client.get(f"{path}/ready").get_json()["ready"] is True
    assert client.get("/v2/health/live").get_json() == {"live": True}
    assert client.get("/v2/health/ready").get_json() == {"ready": True}


@pytest.mark.parametrize("path", ["/v2/models/gpt", "/v2/models/toy/versions/2"])
def test_another_model_or_version_is_not_found(client: FlaskClient, photo: bytes, path: str) -> None:
    for response in (client.get(path), client.get(f"{path}/ready"), ask(client, photo, path=path)):
        assert response.status_code == 404
        check(reference("InferError"), response.get_json())


def test_probes_need_no_key_and_tell_no_name(inference: InferenceQueue, decoding: DecodingPool) -> None:
    settings = ServerSettings(api_key=(KEY,))
    client = create_app(settings, inference, decoding, ServerMetrics(), threading.Event()).test_client()
    for path in ("/v2/health/live", "/v2/health/ready", f"{MODEL}/ready", f"{MODEL}/versions/1/ready"):
        assert client.get(path).status_code == 200
    missing = client.get("/v2/models/other/ready")
    assert (missing.status_code, "toy" in missing.text) == (404, False)
    for path in ("/v2", MODEL, f"{MODEL}/versions/1"):
        assert client.get(path).status_code == 401


def test_a_server_that_stops_is_alive_and_not_ready(inference: InferenceQueue, decoding: DecodingPool) -> None:
    draining = threading.Event()
    draining.set()
    client = create_app(ServerSettings(), inference, decoding, ServerMetrics(), draining).test_client()
    assert client.get("/v2/health/live").status_code == 200
    for path in ("/v2/health/ready", f"{MODEL}/ready"):
        assert client.get(path).status_code == 503
