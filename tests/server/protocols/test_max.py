"""The protocol of IBM's MAX: the same captions as ours, in its shapes."""

import io
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from model.captioner import Captioner
from server.description.schemas import reference
from server.settings import ServerSettings
from tests.server.protocols.test_table import check

PREDICT = "/model/predict"
HEAD = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
FORM = "multipart/form-data; boundary=b"


def predict(client: FlaskClient, *photos: bytes) -> TestResponse:
    files = [(io.BytesIO(photo), "static/img/photo.jpg") for photo in photos]
    return client.post(PREDICT, data={"image": files})


def check_refused(response: TestResponse, status: int, words: str) -> None:
    answer = response.get_json()
    check(reference("MaxError"), answer)
    assert (response.status_code, answer["status"]) == (status, "error")
    assert words in answer["message"]
    assert "/v1/predict" not in answer["message"]


def test_an_answer_has_the_three_best_captions_their_ranks_as_text(client: FlaskClient, photo: bytes) -> None:
    found = client.post("/v1/predict?captions=3", data=photo).get_json()["results"][0]["captions"]
    answer = predict(client, photo).get_json()
    check(reference("MaxAnswer"), answer)
    assert answer["status"] == "ok"
    assert [item["index"] for item in answer["predictions"]] == [str(index) for index in range(len(found))]
    assert [item["caption"] for item in answer["predictions"]] == [item["text"] for item in found]
    assert [item["probability"] for item in answer["predictions"]] == pytest.approx(
        [item["probability"] for item in found]
    )


def test_the_model_and_its_classes_are_told(client: FlaskClient, captioner: Captioner) -> None:
    metadata = client.get("/model/metadata").get_json()
    labels = client.get("/model/labels").get_json()
    check(reference("MaxMetadata"), metadata)
    check(reference("MaxLabels"), labels)
    assert metadata["id"] == captioner.config.name
    assert labels["count"] == len(labels["labels"]) == captioner.config.encoder.classes
    assert labels["labels"] == [{"id": item.id, "name": item.label} for item in captioner.classes]


@pytest.mark.parametrize("kind", ["", "image/jpeg", "application/json", "application/x-www-form-urlencoded"])
def test_what_is_no_form_is_refused_as_that(client: FlaskClient, photo: bytes, kind: str) -> None:
    check_refused(client.post(PREDICT, data=photo, content_type=kind), 400, "http://127.0.0.1:8000/model/predict")


def test_two_photos_are_refused(client: FlaskClient, photo: bytes) -> None:
    check_refused(predict(client, photo, photo), 400, "expected one image in a request")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"--b--\r\n", 400, "without fields"),
        (HEAD + b"\r\n", 400, "cut off"),
        (HEAD.replace(b"image", b"file") + b"a\r\n--b--\r\n", 400, "'file'"),
        (HEAD.replace(b'filename="a.jpg"', b'filename=""') + b"\r\n--b--\r\n", 400, "none was chosen"),
        (HEAD.replace(b'; filename="a.jpg"', b"") + b"https://a.b/c.jpg\r\n--b--\r\n", 400, "never fetches"),
        (HEAD.replace(b'; filename="a.jpg"', b"") + b"photo.jpg\r\n--b--\r\n", 400, "put @ in front"),
        (HEAD.replace(b"image", b"captions") + b"2\r\n--b--\r\n", 400, "received the field 'captions'"),
        (HEAD.replace(b'; filename="a.jpg"', b"") + b"/9j/4AAQSkZJRgABAQAAAQAB\r\n--b--\r\n", 400, "decode it before"),
        (HEAD + b"no photo\r\n--b--\r\n", 415, "JPEG"),
        (HEAD + b"\xff\xd8\xff\xe0" + bytes(100) + b"\r\n--b--\r\n", 422, ""),
        (HEAD * 100_000, 400, ""),
        (b"--b\r\n" * 1_000_000, 400, ""),
        (b"--b\r\nContent-Disposition: " + b"a" * 1_000_000, 400, "cut off"),
    ],
)
def test_a_bad_form_is_refused(client: FlaskClient, body: bytes, status: int, words: str) -> None:
    response = client.post(PREDICT, data=body, content_type=FORM)
    check_refused(response, status, words)
    assert len(response.data) < 1000


def test_a_photo_beyond_the_limit_is_refused(client: FlaskClient) -> None:
    body = HEAD + bytes(ServerSettings().max_body_bytes) + b"\r\n--b--\r\n"
    check_refused(client.post(PREDICT, data=body, content_type=FORM), 413, "at most")


@pytest.mark.parametrize("name", [b"\x83\x5c.jpg", b"\xff\xfe.jpg", b'a\\".jpg'])
def test_a_file_s_name_does_not_matter(client: FlaskClient, photo: bytes, name: bytes) -> None:
    body = HEAD.replace(b"a.jpg", name) + photo + b"\r\n--b--\r\n"
    answer: Any = client.post(PREDICT, data=body, content_type=FORM).get_json()
    assert answer["status"] == "ok"


def test_a_get_of_the_route_finds_it_there(client: FlaskClient) -> None:
    # MAX's web app asks so whether there is a server.
    check_refused(client.get(PREDICT), 405, "")
