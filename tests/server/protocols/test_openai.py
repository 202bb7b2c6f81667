"""OpenAI's protocol: the same captions as ours, in its shapes."""

import base64
import json
import math
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from server.description.schemas import reference
from server.settings import ServerSettings
from tests.server.conftest import encoded
from tests.server.protocols.test_table import check

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
LABELS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "confidence": {"type": "number"}, "topicality": {"type": "number"}},
        "required": ["name", "confidence", "topicality"],
    },
}


def uri(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


@pytest.fixture(scope="session")
def other() -> bytes:
    """Returns a picture unlike `photo`."""
    return encoded(Image.linear_gradient("L").convert("RGB"), "JPEG")


def chat(client: FlaskClient, *photos: bytes, **fields: Any) -> TestResponse:
    parts = [{"type": "text", "text": "What is this?"}]
    images = [{"type": "image_url", "image_url": {"url": uri(photo), "detail": "low"}} for photo in photos]
    message = {"role": "user", "content": [*parts, *images]}
    return client.post(CHAT, json={"model": "any", "messages": [message], "temperature": 0, **fields})


def respond(client: FlaskClient, *photos: bytes, **fields: Any) -> TestResponse:
    parts = [{"type": "input_image", "image_url": uri(photo), "detail": "low"} for photo in photos]
    return client.post(RESPONSES, json={"model": "any", "input": [{"role": "user", "content": parts}], **fields})


def captions(client: FlaskClient, photo: bytes, number: int) -> list[Any]:
    """Returns what our own endpoint says."""
    answer = client.post(f"/v1/predict?captions={number}", data=photo).get_json()
    found: list[Any] = answer["results"][0]["captions"]
    return found


def events(response: TestResponse) -> list[Any]:
    """Returns the parsed data of a stream's events; the text `[DONE]` as it is."""
    assert response.content_type == "text/event-stream; charset=utf-8"
    assert response.content_length == len(response.data)
    blocks = response.get_data(as_text=True).removesuffix("\n\n").split("\n\n")
    texts = [block.rpartition("data: ")[2] for block in blocks]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


def test_a_completion_has_the_best_captions_with_their_words(client: FlaskClient, photo: bytes) -> None:
    expected = captions(client, photo, 3)
    answer = chat(client, photo, n=3, logprobs=True).get_json()
    check(reference("ChatCompletion"), answer)
    assert [choice["message"]["content"] for choice in answer["choices"]] == [item["text"] for item in expected]
    for choice, caption in zip(answer["choices"], expected, strict=True):
        words = choice["logprobs"]["content"]
        assert "".join(word["token"] for word in words) == caption["text"]
        assert bytes(byte for word in words for byte in word["bytes"]).decode() == caption["text"]
        probabilities = [math.exp(word["logprob"]) for word in words]
        assert probabilities == pytest.approx([word["probability"] for word in caption["words"]], rel=1e-5)
    words = sum(len(caption["words"]) for caption in expected)
    assert answer["usage"] == {"prompt_tokens": 1, "completion_tokens": words, "total_tokens": words + 1}
    assert answer["model"] == client.get("/v1/model").get_json()["name"]


def test_more_captions_than_the_default_beam_holds_widen_it(client: FlaskClient, photo: bytes) -> None:
    found = client.post("/v1/predict?captions=10&beam_size=10", data=photo).get_json()["results"][0]["captions"]
    answer = chat(client, photo, n=10).get_json()
    assert [choice["message"]["content"] for choice in answer["choices"]] == [item["text"] for item in found]


def test_several_photos_are_captioned_one_a_line(client: FlaskClient, photo: bytes, other: bytes) -> None:
    first = captions(client, photo, 1)[0]["text"]
    second = captions(client, other, 1)[0]["text"]
    completion = chat(client, photo, other).get_json()
    response = respond(client, photo, other).get_json()
    assert completion["choices"][0]["message"]["content"] == f"{first}\n{second}"
    assert response["output"][0]["content"][0]["text"] == f"{first}\n{second}"
    assert completion["usage"]["prompt_tokens"] == response["usage"]["input_tokens"] == 2


def test_the_last_message_of_the_user_counts(client: FlaskClient, photo: bytes, other: bytes) -> None:
    def message(role: str, data: bytes) -> Any:
        return {"role": role, "content": [{"type": "image_url", "image_url": {"url": uri(data)}}]}

    messages = [message("user", photo), message("user", other), message("tool", photo)]
    for path, name in ((CHAT, "messages"), (RESPONSES, "input")):
        before = client.post(path, json={name: [message("user", other)]}).get_json()
        answer = client.post(path, json={name: messages}).get_json()
        assert answer["usage"] == before["usage"]
        assert answer.get("choices") == before.get("choices")


def test_a_response_has_the_best_caption(client: FlaskClient, photo: bytes) -> None:
    caption = captions(client, photo, 1)[0]
    answer = respond(client, photo, include=["message.output_text.logprobs"]).get_json()
    check(reference("ResponseAnswer"), answer)
    text = answer["output"][0]["content"][0]
    assert text["text"] == "".join(word["token"] for word in text["logprobs"]) == caption["text"]
    assert answer["usage"]["output_tokens"] == len(caption["words"])


@pytest.mark.parametrize("has_usage", [False, True])
def test_a_stream_of_a_completion_has_the_same_text_and_an_end(
    client: FlaskClient, photo: bytes, has_usage: bool
) -> None:
    whole = chat(client, photo, n=2, logprobs=True).get_json()
    options = {"stream": True, "stream_options": {"include_usage": has_usage}}
    *chunks, end = events(chat(client, photo, n=2, logprobs=True, **options))
    assert end == "[DONE]"
    assert len({chunk["id"] for chunk in chunks}) == 1
    if has_usage:
        last = chunks.pop()
        assert (last["choices"], last["usage"]) == ([], whole["usage"])
        assert {chunk["usage"] for chunk in chunks} == {None}
    for choice in whole["choices"]:
        mine = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == choice["index"]]
        assert mine[0]["delta"]["role"] == "assistant"
        assert "".join(part["delta"].get("content", "") for part in mine) == choice["message"]["content"]
        assert [part["finish_reason"] for part in mine] == [None] * (len(mine) - 1) + ["stop"]
        assert [part["logprobs"]["content"][0] for part in mine[1:-1]] == choice["logprobs"]["content"]


def test_a_stream_of_a_response_has_the_same_text_and_the_whole_at_its_end(client: FlaskClient, photo: bytes) -> None:
    whole = respond(client, photo).get_json()["output"][0]["content"]
    parts = events(respond(client, photo, stream=True))
    assert [part["sequence_number"] for part in parts] == list(range(len(parts)))
    assert "".join(part["delta"] for part in parts if part["type"] == "response.output_text.delta") == whole[0]["text"]
    assert parts[0]["type"] == "response.created"
    assert parts[-1]["type"] == "response.completed"
    assert parts[-1]["response"]["output"][0]["content"] == whole


def test_json_is_filled_by_name_and_type(client: FlaskClient, photo: bytes) -> None:
    properties = {
        "caption": {"type": "string"},
        "alt": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "keywords": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "tags": {"type": "string"},
        "labels": LABELS,
        "colour": {"type": ["string", "null"]},
        "size": {"type": "integer"},
    }
    schema = {"type": "object", "properties": properties, "required": [*properties][:-1]}
    predicted = client.post("/v1/predict?captions=1&classes=5", data=photo).get_json()["results"][0]
    text = predicted["captions"][0]["text"]
    labels = [item["label"] for item in predicted["classes"]]
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}
    completion = chat(client, photo, response_format=form).get_json()["choices"][0]["message"]["content"]
    response = respond(client, photo, text={"format": {"type": "json_schema", "name": "a", "schema": schema}})
    filled = json.loads(completion)
    assert filled == json.loads(response.get_json()["output"][0]["content"][0]["text"])
    objects = filled.pop("labels")
    assert filled == {
        "caption": text, "alt": text, "keywords": labels[:2], "tags": ", ".join(labels), "colour": None,
    }  # fmt: skip
    assert [item["name"] for item in objects] == labels
    assert all(0 <= item["confidence"] == item["topicality"] <= 1 for item in objects)


def test_json_without_a_schema_has_caption_and_labels_also_as_a_stream(client: FlaskClient, photo: bytes) -> None:
    form = {"type": "json_object"}
    answer = chat(client, photo, response_format=form, logprobs=True).get_json()["choices"][0]
    assert set(json.loads(answer["message"]["content"])) == {"caption", "labels"}
    assert answer["logprobs"] is None
    *chunks, _ = events(chat(client, photo, response_format=form, stream=True))
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == answer["message"]["content"]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": []},
        {"properties": {}},
        {"properties": {"colour": {"type": "string"}}},
        {"properties": {"colour": {"type": ["string", "null"]}}},
        {"properties": {"caption": {"type": "string"}, "colour": {"type": "string"}}, "required": ["colour"]},
        {"properties": {"caption": {"type": "string", "enum": ["dog", "cat"]}}, "required": ["caption"]},
        {"properties": {"caption": {"$ref": "#/$defs/Caption"}}, "required": ["caption"]},
        {"properties": {"caption": {"type": "object"}}, "required": ["caption"]},
        {"properties": {"caption": {"type": "string"}}, "required": ["caption", "colour"]},
        {"properties": {"caption": 7}, "required": ["caption", 7, []]},
        {"properties": {"caption": LABELS}, "required": ["caption"]},
        {"properties": {"labels": {**LABELS, "items": {**LABELS["items"], "required": ["nsfw"]}}}},  # type: ignore[dict-item]
        {"properties": {f"a{number}": {"type": "null"} for number in range(101)}},
    ],
)
def test_a_schema_that_cannot_be_filled_is_refused(client: FlaskClient, photo: bytes, schema: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    response = chat(client, photo, response_format=form)
    assert (response.status_code, response.get_json()["error"]["code"]) == (400, "invalid_parameter")
    assert "caption, description" in response.get_json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "status", "code", "words"),
    [
        ({"n": 11}, 400, "malformed_body", "$.n"),
        ({"n": 10**30}, 400, "malformed_body", "$.n"),
        ({"n": 0}, 400, "malformed_body", "$.n"),
        ({"messages": []}, 400, "malformed_body", "$.messages"),
        ({"messages": [{"role": "user", "content": "What is this?"}]}, 400, "malformed_body", "received 0"),
        ({"messages": [{"role": "system", "content": "Be brief."}]}, 400, "malformed_body", "received 0"),
        ({"response_format": {"type": "xml"}}, 400, "malformed_body", "$.response_format"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    client: FlaskClient, photo: bytes, fields: Any, status: int, code: str, words: str
) -> None:
    response = chat(client, photo, **fields)
    error = response.get_json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (status, "invalid_request_error", code)
    assert words in error["message"]


@pytest.mark.parametrize("link", ["http://10.0.0.1/a.jpg", "https://example.org/a.jpg", "file:///etc/passwd"])
def test_an_url_is_refused_and_never_fetched(client: FlaskClient, link: str) -> None:
    part = {"type": "input_image", "image_url": link}
    chatted = client.post(CHAT, json={"messages": [{"role": "user", "content": [{"image_url": {"url": link}}]}]})
    responded = client.post(RESPONSES, json={"input": [{"role": "user", "content": [part]}]})
    for response in (chatted, responded):
        assert response.status_code == 400
        assert "never fetches" in response.get_json()["error"]["message"]


def test_a_bad_photo_among_several_is_named(client: FlaskClient, photo: bytes) -> None:
    response = chat(client, photo, b"no photo", photo)
    assert (response.status_code, response.get_json()["error"]["code"]) == (415, "unsupported_image")
    assert response.get_json()["error"]["message"].startswith("image 2 of 3: ")


def test_the_limit_counts_what_photos_have_and_not_their_base64(client: FlaskClient) -> None:
    limit = ServerSettings().max_body_bytes
    tiny = encoded(Image.new("RGB", (9, 7), "tomato"), "PNG")
    assert chat(client, tiny.ljust(limit, b"\0")).status_code == 200
    response = chat(client, tiny.ljust(limit + 1, b"\0"))
    assert response.status_code == 413
    assert f"images of at most {limit} bytes" in response.get_json()["error"]["message"]


def test_models_are_listed_and_told(client: FlaskClient) -> None:
    name = client.get("/v1/model").get_json()["name"]
    (model,) = client.get("/v1/models").get_json()["data"]
    assert model.items() <= client.get(f"/v1/models/{name}").get_json().items()  # others add theirs
    assert (model["id"], model["object"]) == (name, "model")
    missing = client.get("/v1/models/gpt-5").get_json()["error"]
    assert (missing["code"], name in missing["message"]) == ("model_not_found", True)
