"""Triton's and KServe's own clients against a real server, as people use them."""

import base64
import json
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.server.protocols.conftest import KEY
from tests.server.test_live import address, drawn_photo

pytestmark = pytest.mark.slow

BEARER = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def triton() -> Any:
    return pytest.importorskip("tritonclient.http", reason="Triton's client is not installed (`make test` installs it)")


@pytest.fixture(scope="module")
def client(triton: Any, url: str) -> Iterator[Any]:
    host, port = address(url)
    with triton.InferenceServerClient(f"{host}:{port}", network_timeout=30) as client:
        yield client


def tensor(triton: Any, *elements: bytes | str, binary: bool = True) -> Any:
    found = triton.InferInput("image", [len(elements)], "BYTES")
    found.set_data_from_numpy(np.array(elements, dtype=np.object_), binary_data=binary)
    return found


def check_result(result: Any, expected: Any, number: int = 1) -> None:
    assert [text.decode() for text in result.as_numpy("caption")] == [expected["captions"][0]["text"]] * number
    assert result.as_numpy("log_probability").dtype == np.float32
    probability = expected["captions"][0]["log_probability"]
    assert result.as_numpy("log_probability") == pytest.approx([probability] * number, rel=1e-5)
    labels = [item["label"] for item in expected["classes"]]
    assert [[text.decode() for text in row] for row in result.as_numpy("classes")] == [labels] * number
    assert result.as_numpy("scores").shape == (number, len(labels))


def test_triton_asks_for_the_state_without_a_key(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("toy")
    assert client.is_model_ready("toy", "1")
    assert not client.is_model_ready("another")


def test_triton_asks_what_the_server_and_the_model_are(client: Any) -> None:
    assert "binary_tensor_data" in client.get_server_metadata(headers=BEARER)["extensions"]
    for version in ("", "1"):
        model = client.get_model_metadata("toy", version, headers=BEARER)
        assert model["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_triton_sends_files(triton: Any, client: Any, expected: Any, compression: str | None) -> None:
    inputs = [tensor(triton, drawn_photo(), drawn_photo())]
    result = client.infer(
        "toy", inputs, request_id="7", headers=dict(BEARER), request_compression_algorithm=compression
    )
    check_result(result, expected, 2)
    assert result.get_response()["id"] == "7"


def test_triton_sends_base64_in_the_json_and_behind_it(triton: Any, client: Any, expected: Any) -> None:
    text = base64.b64encode(drawn_photo()).decode()
    for binary in (False, True):
        result = client.infer("toy", [tensor(triton, text, binary=binary)], "1", headers=dict(BEARER))
        check_result(result, expected)


def test_triton_chooses_outputs(triton: Any, client: Any, expected: Any) -> None:
    outputs = [
        triton.InferRequestedOutput("caption", binary_data=False),
        triton.InferRequestedOutput("classes", class_count=3),
    ]
    result = client.infer("toy", [tensor(triton, drawn_photo())], outputs=outputs, headers=dict(BEARER))
    assert result.as_numpy("caption").tolist() == [expected["captions"][0]["text"]]
    assert [text.decode().split(":")[2] for text in result.as_numpy("classes")[0]] == [
        item["label"] for item in expected["classes"][:3]
    ]
    assert result.as_numpy("scores") is None


def test_refusals_are_triton_s_own_errors(triton: Any, client: Any) -> None:
    error = pytest.importorskip("tritonclient.utils").InferenceServerException
    photo = tensor(triton, drawn_photo())
    with pytest.raises(error, match="key") as caught:
        client.infer("toy", [photo])
    assert caught.value.status() == "401"
    with pytest.raises(error, match="expected the model 'toy'"):
        client.infer("another", [photo], headers=dict(BEARER))
    with pytest.raises(error, match=r"(?i)image"):
        client.infer("toy", [tensor(triton, b"\xff\xd8 no photo")], headers=dict(BEARER))
    with pytest.raises(error, match="never fetches"):
        client.infer("toy", [tensor(triton, "https://example.org/photo.jpg")], headers=dict(BEARER))


def test_bodies_that_end_early_hold_up_nobody(triton: Any, url: str, client: Any, expected: Any) -> None:
    head = f"POST /v2/models/toy/infer HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {KEY}\r\n"
    for length in (100, 10_000_000):
        with socket.create_connection(address(url), timeout=30) as leaving:
            promise = f"Inference-Header-Content-Length: 90\r\nContent-Length: {length}\r\n\r\n"
            leaving.sendall(f"{head}{promise}".encode() + b'{"inputs": [')
            leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    check_result(client.infer("toy", [tensor(triton, drawn_photo())], headers=dict(BEARER)), expected)


def test_kserve_asks_in_both_of_its_protocols(kserve_python: str, url: str, expected: Any, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(drawn_photo())
    script = Path(__file__).with_name("kserve_client.py")
    command = [kserve_python, str(script), url, KEY, str(tmp_path / "photo.jpg")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    caption = expected["captions"][0]["text"]
    assert said["states"] == [True, True, True, True]
    assert said["tensors"] == {"base64": [caption], "binary": [caption]}
    assert said["scores"] == [1, 5]
    assert said["instances"] == [caption]
    assert "never fetches" in said["refused"]
