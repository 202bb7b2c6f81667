"""OpenAI's own client against a real server, as people use it."""

import base64
import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.protocols.conftest import KEY
from tests.server.test_live import address, drawn_photo, request

openai = pytest.importorskip("openai", reason="OpenAI's client is not installed (`make test` installs it)")
pydantic = pytest.importorskip("pydantic")

pytestmark = pytest.mark.slow

URI = f"data:image/jpeg;base64,{base64.b64encode(drawn_photo()).decode()}"
CHAT = [
    {"role": "user", "content": [{"type": "text", "text": "Hello?"}, {"type": "image_url", "image_url": {"url": URI}}]}
]
INPUT = [{"role": "user", "content": [{"type": "input_image", "image_url": URI, "detail": "auto"}]}]


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=30) as client:
        yield client


def test_a_completion(client: Any, caption: str) -> None:
    answer = client.chat.completions.create(model="gpt-4o", messages=CHAT, n=2, logprobs=True, max_tokens=50)
    assert answer.choices[0].message.content == caption
    assert len(answer.choices) == 2
    assert "".join(word.token for word in answer.choices[0].logprobs.content) == caption
    assert answer.usage.total_tokens > 1
    assert answer._request_id


def test_a_streamed_completion(client: Any, caption: str) -> None:
    options = {"stream_options": {"include_usage": True}}
    with client.chat.completions.stream(model="gpt-4o", messages=CHAT, **options) as stream:
        parts = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(parts) == final.choices[0].message.content == caption
    assert len(parts) > 1
    assert final.usage.prompt_tokens == 1


def test_a_response(client: Any, caption: str) -> None:
    answer = client.responses.create(model="gpt-4o", input=INPUT)
    assert (answer.output_text, answer.status, answer.usage.input_tokens) == (caption, "completed", 1)


def test_a_streamed_response(client: Any, caption: str) -> None:
    with client.responses.stream(model="gpt-4o", input=INPUT) as stream:
        parts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert stream.get_final_response().output_text == "".join(parts) == caption


def test_a_typed_answer(client: Any, caption: str) -> None:
    photo = pydantic.create_model("Photo", caption=(str, ...), labels=(list[str], ...), mood=(str | None, ...))
    completion = client.chat.completions.parse(model="gpt-4o", messages=CHAT, response_format=photo)
    response = client.responses.parse(model="gpt-4o", input=INPUT, text_format=photo)
    for parsed in (completion.choices[0].message.parsed, response.output_parsed):
        assert (parsed.caption, len(parsed.labels), parsed.mood) == (caption, 5, None)


def test_models(client: Any) -> None:
    (model,) = client.models.list()
    assert client.models.retrieve(model.id).id == model.id
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-4o")
    assert caught.value.code == "model_not_found"


def test_refusals_are_the_client_s_own_errors(client: Any) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key="another-key-of-a-stranger").models.list()
    assert caught.value.code == "unauthorized"
    link = {"type": "image_url", "image_url": {"url": "https://example.org/photo.jpg"}}
    with pytest.raises(openai.BadRequestError, match="never fetches"):
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": [link]}], stream=True)
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="gpt-4o", input="a dog")


def test_clients_that_leave_in_the_middle_of_a_stream_hold_up_nobody(url: str, client: Any, caption: str) -> None:
    body = json.dumps({"messages": CHAT, "stream": True, "n": 10}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {KEY}\r\n"
    for _ in range(8):
        with socket.create_connection(address(url), timeout=30) as leaving:
            leaving.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert leaving.recv(64).startswith(b"HTTP/1.1 200 OK")
            leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    answer = client.chat.completions.create(model="gpt-4o", messages=CHAT)
    assert answer.choices[0].message.content == caption
    assert request(url, "GET", "/readyz")[0] == 200
