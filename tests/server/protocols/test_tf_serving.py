"""TensorFlow Serving's protocol and KServe's v1: the same captions as ours, by row and by column."""

import base64
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from server.description.schemas import reference
from server.settings import ServerSettings
from tests.server.conftest import encoded
from tests.server.protocols.test_open_inference import predicted
from tests.server.protocols.test_table import check

MODEL = "/v1/models/toy"
PATHS = [MODEL, f"{MODEL}/versions/1"]


@pytest.fixture(scope="module")
def other() -> bytes:
    """Returns a picture unlike `photo`."""
    return encoded(Image.linear_gradient("L").convert("RGB"), "JPEG")


def marked(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def rows_of(expected: list[Any]) -> list[Any]:
    """Returns what our own endpoint says, as this protocol says it."""
    return [
        {
            "caption": item["captions"][0]["text"],
            "log_probability": pytest.approx(item["captions"][0]["log_probability"], rel=1e-5),
            "classes": [one["label"] for one in item["classes"]],
            "scores": pytest.approx([one["probability"] for one in item["classes"]], rel=1e-5),
        }
        for item in expected
    ]


@pytest.mark.parametrize("path", PATHS)
def test_rows_are_captioned_however_they_name_the_photo(
    client: FlaskClient, photo: bytes, other: bytes, path: str
) -> None:
    expected = rows_of(predicted(client, photo, other))
    for rows in (
        [marked(photo), marked(other)],
        [{"image_bytes": marked(photo), "key": "1"}, {"input": marked(other), "key": "2"}],
        [marked(photo)["b64"], {"image": marked(other)["b64"]}],
    ):
        answer = client.post(f"{path}:predict", json={"instances": rows, "signature_name": "serving_default"})
        check(reference("TfPredictions"), answer.get_json())
        assert answer.get_json() == {"predictions": expected}


def test_columns_are_captioned_with_a_name_or_without(client: FlaskClient, photo: bytes, other: bytes) -> None:
    expected = rows_of(predicted(client, photo, other))
    both = [marked(photo), marked(other)]
    inputs: Any
    for inputs in (both, {"image": both}):
        outputs = client.post(f"{MODEL}:predict", json={"inputs": inputs}).get_json()["outputs"]
        assert list(outputs) == list(expected[0])
        assert [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)] == expected
    for inputs in (marked(photo), {"image": marked(photo)}, marked(photo)["b64"]):
        outputs = client.post(f"{MODEL}:predict", json={"inputs": inputs}).get_json()["outputs"]
        assert outputs["caption"] == [expected[0]["caption"]]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("field", ["examples", "instances"])
def test_photos_are_classified(client: FlaskClient, photo: bytes, other: bytes, path: str, field: str) -> None:
    body = {field: [{"image": marked(photo)}, marked(other)]}
    answer = client.post(f"{path}:classify", json=body).get_json()
    check(reference("TfClassified"), answer)
    expected = rows_of(predicted(client, photo, other))
    assert [[label for label, _ in row] for row in answer["result"]] == [row["classes"] for row in expected]
    assert [[score for _, score in row] for row in answer["result"]] == [row["scores"] for row in expected]


def test_one_object_tells_all_protocols_what_the_model_is(client: FlaskClient) -> None:
    model = client.get(MODEL).get_json()
    (state,) = model["model_version_status"]
    assert (state["version"], state["state"], state["status"]["error_code"]) == ("1", "AVAILABLE", "OK")
    assert (model["name"], model["ready"], model["id"], model["object"]) == ("toy", True, "toy", "model")
    assert client.get(f"{MODEL}/versions/1").get_json() == {"model_version_status": [state]}
    models = client.get("/v1/models").get_json()
    assert (models["models"], models["data"][0]["id"]) == (["toy"], "toy")


@pytest.mark.parametrize("path", ["/v1/models/gpt", "/v1/models/toy/versions/2", "/v1/models/toy/versions/x"])
def test_another_model_or_version_is_not_found(client: FlaskClient, photo: bytes, path: str) -> None:
    for verb in ("predict", "classify"):
        response = client.post(f"{path}:{verb}", json={"instances": [marked(photo)]})
        assert response.status_code == 404
        check(reference("TfError"), response.get_json())
    assert client.get(path).status_code == 404


def test_other_verbs_are_not_found(client: FlaskClient) -> None:
    for path in PATHS:
        assert client.post(f"{path}:regress", json={}).status_code == 404
        assert client.get(f"{path}:predict").status_code == 405


GOOD = {"b64": "iVBORw0KGgo="}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "received none"),
        ({"instances": [GOOD], "inputs": [GOOD]}, "received several"),
        ({"instances": []}, "1 to 16 images"),
        ({"instances": [GOOD] * 17}, "1 to 16 images"),
        ({"inputs": [GOOD] * 17}, "1 to 16 images"),
        ({"inputs": {"image": []}}, "1 to 16 images"),
        ({"instances": GOOD}, "instances"),
        ({"instances": [[0, 0, 0]]}, "instances"),
        ({"instances": [[GOOD]]}, "instances"),
        ({"instances": [{}]}, "one photo in each row"),
        ({"instances": [{"a": GOOD, "b": GOOD}]}, "one photo in each row"),
        ({"instances": [{"a": "x", "b": "y"}]}, "one photo in each row"),
        ({"instances": [{"b64": 7}]}, "one photo in each row"),
        ({"instances": [{"b64": GOOD}, {"b64": [GOOD]}]}, "one photo in each row"),
        ({"instances": [{"a": {"a": {"a": GOOD}}}]}, "one photo in each row"),
        ({"inputs": {"image": [[GOOD]]}}, "one photo in each row"),
        ({"inputs": {"image": 7}}, "one photo in each row"),
        ({"inputs": 7}, "inputs"),
        ({"instances": [{"b64": "iVBOR"}]}, "base64"),
        ({"instances": [{"b64": ""}]}, "empty text"),
        ({"instances": ["photo.jpg"]}, "base64"),
        ({"instances": [{"b64": "https://example.org/a.jpg"}]}, "never fetches"),
        ({"instances": ["file:///etc/passwd"]}, "never fetches"),
    ],
)
def test_what_is_no_photo_is_refused_with_its_reason(client: FlaskClient, body: Any, words: str) -> None:
    response = client.post(f"{MODEL}:predict", json=body)
    assert response.status_code == 400, response.text
    check(reference("TfError"), response.get_json())
    assert words in response.get_json()["error"]
    assert len(response.data) < 1000


def test_a_bad_photo_among_several_is_named(client: FlaskClient, photo: bytes) -> None:
    response = client.post(f"{MODEL}:predict", json={"instances": [marked(photo), marked(b"no photo")]})
    assert response.status_code == 415
    assert response.get_json()["error"].startswith("image 2 of 2: ")


def test_the_limit_counts_what_photos_have_and_not_their_base64(client: FlaskClient) -> None:
    limit = ServerSettings().max_body_bytes
    tiny = encoded(Image.new("RGB", (9, 7), "tomato"), "PNG")
    assert client.post(f"{MODEL}:predict", json={"inputs": marked(tiny.ljust(limit, b"\0"))}).status_code == 200
    assert client.post(f"{MODEL}:predict", json={"inputs": marked(tiny.ljust(limit + 1, b"\0"))}).status_code == 413
