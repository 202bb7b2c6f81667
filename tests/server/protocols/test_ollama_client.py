"""Ollama's own client, and a form as MAX's web app posts it, against a real server."""

import base64
import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.protocols.conftest import KEY
from tests.server.test_live import address, drawn_photo, request

requests = pytest.importorskip("requests", reason="requests is not installed (`make test` installs it)")
ollama = pytest.importorskip("ollama", reason="Ollama's client is not installed (`make test` installs it)")

pytestmark = pytest.mark.slow

SCHEMA = {"type": "object", "properties": {"caption": {"type": "string"}}, "required": ["caption"]}


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Any]:
    with ollama.Client(host=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
        yield client


@pytest.fixture
def photo_path(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(drawn_photo())
    return path


def test_a_generated_text(client: Any, caption: str, photo_path: Path) -> None:
    for photo in (drawn_photo(), photo_path, str(photo_path), base64.b64encode(drawn_photo()).decode()):
        answer = client.generate(model="llava", prompt="What is this?", images=[photo], options={"temperature": 0})
        assert (answer.response, answer.done, answer.done_reason) == (caption, True, "stop")
    assert answer.eval_count == len(caption.split())


def test_a_streamed_text(client: Any, caption: str) -> None:
    *parts, end = client.generate(model="llava", images=[drawn_photo()], stream=True)
    assert "".join(part.response for part in parts) == caption
    assert (end.response, end.done, end.prompt_eval_count) == ("", True, 1)
    assert not any(part.done for part in parts)


def test_a_message(client: Any, caption: str) -> None:
    messages = [{"role": "user", "content": "What is this?", "images": [drawn_photo()]}]
    answer = client.chat(model="llava:7b", messages=messages, think=False)
    assert (answer.message.content, answer.message.role, answer.done_reason) == (caption, "assistant", "stop")
    parts = client.chat(model="llava:7b", messages=messages, stream=True)
    assert "".join(part.message.content for part in parts) == caption


def test_labels_and_a_schema(client: Any, caption: str) -> None:
    labels = json.loads(client.generate(model="llava", images=[drawn_photo()], format="json").response)["labels"]
    assert len(labels) == 5
    assert all(set(label) == {"name", "confidence", "topicality"} for label in labels)
    answer = client.generate(model="llava", images=[drawn_photo()], format=SCHEMA)
    assert json.loads(answer.response) == {"caption": caption}


def test_models_and_version(url: str, client: Any) -> None:
    (model,) = client.list().models
    shown = client.show("any:latest")
    assert shown.modelinfo["general.basename"] == model.model
    assert shown.capabilities == ["completion", "vision"]
    assert model.modified_at.tzinfo == shown.modified_at.tzinfo
    answer = request(url, "GET", "/api/version", headers={"Authorization": f"Bearer {KEY}"})[2]
    assert answer["version"].count(".") == 2
    assert client.generate(model="llava", keep_alive="5m").done_reason == "load"


def test_refusals_are_the_client_s_own_errors(url: str, client: Any) -> None:
    with pytest.raises(ollama.ResponseError, match="received 0") as caught:
        client.chat(model="llava", messages=[{"role": "user", "content": "Hello?"}])
    assert caught.value.status_code == 400
    with pytest.raises(ollama.ResponseError, match="JPEG"):
        list(client.generate(model="llava", images=[b"no photo"], stream=True))
    with pytest.raises(ollama.ResponseError) as caught:
        client.embed(model="llava", input="a dog")
    assert caught.value.status_code == 404
    with ollama.Client(host=url) as stranger, pytest.raises(ollama.ResponseError) as caught:
        stranger.list()
    assert caught.value.status_code == 401


def test_clients_that_leave_in_the_middle_of_a_stream_hold_up_nobody(url: str, client: Any, caption: str) -> None:
    body = json.dumps({"model": "llava", "images": [base64.b64encode(drawn_photo()).decode()]}).encode()
    head = f"POST /api/generate HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {KEY}\r\n"
    for _ in range(8):
        with socket.create_connection(address(url), timeout=30) as leaving:
            leaving.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert leaving.recv(64).startswith(b"HTTP/1.1 200 OK")
            leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert client.generate(model="llava", images=[drawn_photo()]).response == caption
    assert request(url, "GET", "/readyz")[0] == 200


def test_a_form_as_max_s_web_app_posts_it(url: str, caption: str, photo_path: Path) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    with photo_path.open("rb") as file:
        answer = requests.post(f"{url}/model/predict", files={"image": file}, headers=headers, timeout=30).json()
    assert answer["status"] == "ok"
    assert answer["predictions"][0]["caption"] == caption
    assert [item["index"] for item in answer["predictions"]] == ["0", "1", "2"]
    assert requests.get(f"{url}/model/metadata", headers=headers, timeout=30).json()["type"]
