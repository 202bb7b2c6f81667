"""Triton's and KServe's own clients against a real server, as people use them."""

import asyncio
import base64
import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.server.test_live import address, drawn_photo, request

pytestmark = pytest.mark.slow

KEY = "a-key-of-22-characters"
BEARER = {"Authorization": f"Bearer {KEY}"}
MISSING = "{} is not installed; CHANGELOG.md says why `make test` does not install KServe's"


@pytest.fixture(scope="module")
def url(
    serve: Callable[..., contextlib.AbstractContextManager[str]],
    toy_bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Yields the URL of a server that asks for a key."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY)
    with serve(toy_bundle, "--api-key-file", str(keys)) as url:
        yield url


@pytest.fixture(scope="module")
def expected(url: str) -> Any:
    """Returns what our own endpoint says."""
    return request(url, "POST", "/v1/predict", drawn_photo(), headers=BEARER)[2]["results"][0]


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


@pytest.fixture(scope="module")
def kserve() -> Any:
    return pytest.importorskip("kserve", reason=MISSING.format("KServe's client"), exc_type=ImportError)


def ask(kserve: Any, protocol: str, talk: Callable[[Any], Any]) -> Any:
    """Returns the end of a talk with KServe's client."""

    async def run() -> Any:
        async with kserve.InferenceRESTClient(kserve.RESTConfig(protocol=protocol, timeout=30)) as client:
            return await talk(client)

    return asyncio.run(run())


def test_kserve_asks_for_the_state(kserve: Any, url: str) -> None:
    async def state(client: Any) -> Any:
        probes = [client.is_server_live(url), client.is_server_ready(url), client.is_model_ready(url, "toy")]
        return [await probe for probe in probes]

    assert ask(kserve, "v2", state) == [True, True, True]
    assert ask(kserve, "v1", lambda client: client.is_model_ready(url, "toy", headers=BEARER)) is True


@pytest.mark.parametrize("binary", [False, True])
def test_kserve_sends_tensors(kserve: Any, url: str, expected: Any, binary: bool) -> None:
    element = drawn_photo() if binary else base64.b64encode(drawn_photo()).decode()
    image = kserve.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([element], dtype=np.object_), binary_data=binary)
    wanted = kserve.InferRequest("toy", [image], parameters={"binary_data_output": binary})

    async def infer(client: Any) -> Any:
        return await client.infer(url, wanted, model_name="toy", headers=dict(BEARER))

    outputs = {output.name: output for output in ask(kserve, "v2", infer).outputs}
    assert outputs["caption"].data == [expected["captions"][0]["text"]]
    assert outputs["scores"].as_numpy().shape == (1, 5)


def test_kserve_sends_instances(kserve: Any, url: str, expected: Any) -> None:
    body = {"instances": [{"image": {"b64": base64.b64encode(drawn_photo()).decode()}}]}

    async def infer(client: Any) -> Any:
        return await client.infer(url, body, model_name="toy", headers=dict(BEARER))

    (prediction,) = ask(kserve, "v1", infer)["predictions"]
    assert prediction["caption"] == expected["captions"][0]["text"]


def test_kserve_shows_the_reason_of_a_refusal(kserve: Any, url: str) -> None:
    async def infer(client: Any) -> Any:
        return await client.infer(url, {"instances": ["https://a.org/b"]}, model_name="toy", headers=dict(BEARER))

    with pytest.raises(Exception, match="never fetches"):
        ask(kserve, "v1", infer)
