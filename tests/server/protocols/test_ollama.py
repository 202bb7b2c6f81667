"""Ollama's protocol: the same captions as ours, in its shapes."""

import base64
import json
from datetime import datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from server.description.schemas import reference
from server.settings import ServerSettings
from tests.server.conftest import encoded
from tests.server.protocols.test_table import check

GENERATE = "/api/generate"
CHAT = "/api/chat"
SHOW = "/api/show"


@pytest.fixture(scope="session")
def other() -> bytes:
    """Returns a picture unlike `photo`."""
    return encoded(Image.linear_gradient("L").convert("RGB"), "JPEG")


def texts(photos: tuple[bytes, ...]) -> list[str]:
    return [base64.b64encode(photo).decode() for photo in photos]


def generate(client: FlaskClient, *photos: bytes, **fields: Any) -> TestResponse:
    body = {"model": "llava", "prompt": "What is this?", "images": texts(photos), "stream": False}
    return client.post(GENERATE, json=body | fields)


def chat(client: FlaskClient, *photos: bytes, **fields: Any) -> TestResponse:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is this?", "images": texts(photos)},
    ]
    return client.post(CHAT, json={"model": "llava:7b", "messages": messages, "stream": False, **fields})


def text_of(answer: Any) -> str:
    """Returns the text of an answer of either route."""
    text = answer["message"]["content"] if "message" in answer else answer["response"]
    assert isinstance(text, str)
    return text


def lines(response: TestResponse) -> list[Any]:
    """Returns the parsed lines of a stream."""
    assert response.content_type == "application/x-ndjson"
    assert response.content_length == len(response.data)
    return [json.loads(line) for line in response.data.splitlines()]


def predicted(client: FlaskClient, photo: bytes) -> Any:
    """Returns what our own endpoint says."""
    return client.post("/v1/predict?captions=1&classes=5", data=photo).get_json()["results"][0]


Asks = pytest.mark.parametrize(
    ("ask", "schema"), [(generate, "OllamaGenerateAnswer"), (chat, "OllamaChatAnswer")], ids=["generate", "chat"]
)


@Asks
def test_an_answer_has_the_best_caption(client: FlaskClient, photo: bytes, ask: Any, schema: str) -> None:
    caption = predicted(client, photo)["captions"][0]
    answer = ask(client, photo).get_json()
    check(reference(schema), answer)
    assert (text_of(answer), answer["done"], answer["done_reason"]) == (caption["text"], True, "stop")
    assert (answer["prompt_eval_count"], answer["eval_count"]) == (1, len(caption["words"]))
    assert 0 < answer["eval_duration"] < answer["total_duration"]
    assert answer["model"] == client.get("/v1/model").get_json()["name"]
    assert datetime.fromisoformat(answer["created_at"]).tzinfo


@Asks
@pytest.mark.parametrize("stream", [{"stream": True}, {"stream": None}], ids=["wished", "by default"])
def test_a_stream_has_the_same_text_a_word_a_line(
    client: FlaskClient, photo: bytes, ask: Any, schema: str, stream: Any
) -> None:
    whole = ask(client, photo).get_json()
    *words, end = lines(ask(client, photo, **stream))
    assert "".join(map(text_of, words)) == text_of(whole)
    assert len(words) == whole["eval_count"]
    assert {word["done"] for word in words} == {False}
    assert not any("done_reason" in word for word in words)
    assert (text_of(end), end["done"], end["done_reason"]) == ("", True, "stop")
    assert end.keys() == whole.keys()
    for line in (*words, end):
        check(reference(schema), line)


@Asks
def test_several_photos_are_captioned_one_a_line(
    client: FlaskClient, photo: bytes, other: bytes, ask: Any, schema: str
) -> None:
    del schema
    expected = "\n".join(predicted(client, item)["captions"][0]["text"] for item in (photo, other))
    answer = ask(client, photo, other).get_json()
    assert (text_of(answer), answer["prompt_eval_count"]) == (expected, 2)
    assert "".join(map(text_of, lines(ask(client, photo, other, stream=True)))) == expected


def test_the_last_message_of_the_user_counts(client: FlaskClient, photo: bytes, other: bytes) -> None:
    messages = [
        {"role": role, "content": "", "images": texts((data,))}
        for role, data in (("user", photo), ("assistant", photo), ("user", other), ("tool", photo))
    ]
    answer = client.post(CHAT, json={"model": "llava", "messages": messages, "stream": False}).get_json()
    assert text_of(answer) == predicted(client, other)["captions"][0]["text"]


@Asks
@pytest.mark.parametrize("stream", [False, True])
def test_json_is_the_labels_that_photo_libraries_look_for(
    client: FlaskClient, photo: bytes, ask: Any, schema: str, stream: bool
) -> None:
    del schema
    response = ask(client, photo, format="json", stream=stream)
    answers = lines(response) if stream else [response.get_json()]
    found = json.loads("".join(map(text_of, answers)))
    assert found.keys() == {"labels"}
    for label, item in zip(found["labels"], predicted(client, photo)["classes"], strict=True):
        assert label.keys() == {"name", "confidence", "topicality"}
        assert label["name"] == item["label"]
        assert label["confidence"] == label["topicality"] == pytest.approx(item["probability"], rel=1e-5)


@Asks
def test_a_json_schema_is_filled_by_name(client: FlaskClient, photo: bytes, ask: Any, schema: str) -> None:
    del schema
    properties = {"title": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}}
    answer = ask(client, photo, format={"type": "object", "properties": properties}).get_json()
    result = predicted(client, photo)
    labels = [item["label"] for item in result["classes"]]
    assert json.loads(text_of(answer)) == {"title": result["captions"][0]["text"], "tags": labels}


def test_as_a_photo_library_asks(client: FlaskClient, photo: bytes) -> None:
    body = {
        "id": "0c6a1d0e", "model": "llava:7b", "version": "latest", "system": "Label.", "prompt": "JSON", "suffix": "",
        "format": "json", "options": {"temperature": 0.01, "top_p": 0.9, "stop": ["\n\n"]}, "stream": False,
        "images": texts((photo,)),
    }  # fmt: skip
    answer = client.post(GENERATE, json=body).get_json()
    assert all(label["name"] and 0 < label["topicality"] <= 1 for label in json.loads(answer["response"])["labels"])


@pytest.mark.parametrize("path", [GENERATE, CHAT])
def test_a_request_without_anything_to_do_only_loads(client: FlaskClient, path: str) -> None:
    answer = client.post(path, json={"model": "llava", "keep_alive": -1, "stream": False}).get_json()
    assert (text_of(answer), answer["done"], answer["done_reason"]) == ("", True, "load")
    (line,) = lines(client.post(path, json={"model": "llava", "messages": [], "images": [], "format": "json"}))
    assert (text_of(line), line["done_reason"]) == ("", "load")


@Asks
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"format": "yaml"}, "$.format"),
        ({"format": {"type": "object", "properties": {"colour": {"type": "string"}}}}, "caption, description"),
        ({"stream": "yes"}, "$.stream"),
        ({"images": [], "messages": [{"role": "user", "content": "And now?"}]}, "received 0"),
        ({"images": ["!"], "messages": [{"role": "user", "images": ["!"]}]}, "as base64"),
        ({"images": ["https://a.b/c"], "messages": [{"role": "user", "images": ["https://a.b/c"]}]}, "never fetches"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    client: FlaskClient, photo: bytes, ask: Any, schema: str, fields: Any, words: str
) -> None:
    del schema
    for stream in ({}, {"stream": True}):
        response = ask(client, photo, **stream, **fields) if "stream" not in fields else ask(client, photo, **fields)
        assert (response.status_code, response.mimetype) == (400, "application/json")
        assert words in response.get_json()["error"]


def test_the_limit_counts_what_photos_have_and_not_their_base64(client: FlaskClient) -> None:
    limit = ServerSettings().max_body_bytes
    tiny = encoded(Image.new("RGB", (9, 7), "tomato"), "PNG")
    assert generate(client, tiny.ljust(limit, b"\0")).status_code == 200
    response = generate(client, tiny.ljust(limit + 1, b"\0"))
    assert response.status_code == 413
    assert f"images of at most {limit} bytes" in response.get_json()["error"]


def test_the_model_is_listed_and_shown_by_any_name(client: FlaskClient) -> None:
    loaded = client.get("/v1/model").get_json()
    listed = client.get("/api/tags").get_json()
    check(reference("OllamaModels"), listed)
    (model,) = listed["models"]
    assert model["name"] == model["model"] == loaded["name"]
    assert len(bytes.fromhex(model["digest"])) == 32
    for body in ({"model": "llava"}, {"name": "llava"}, {"model": "llava", "verbose": True}):
        shown = client.post(SHOW, json=body).get_json()
        check(reference("OllamaShown"), shown)
        assert "vision" in shown["capabilities"]
        assert shown["model_info"]["general.basename"] == loaded["name"]
        assert shown["model_info"]["show-and-tell.vocab_size"] == loaded["vocabulary_size"]


def test_a_name_is_needed_though_any_will_do(client: FlaskClient) -> None:
    for path in (GENERATE, CHAT, SHOW):
        for body in ({}, {"model": None}, {"model": 7}):
            response = client.post(path, json=body)
            assert response.status_code == 400
            assert "model" in response.get_json()["error"]


def test_the_version_is_one_that_clients_can_compare(client: FlaskClient) -> None:
    version = client.get("/api/version").get_json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)
