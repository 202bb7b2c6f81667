"""The endpoints with a real captioner: what is answered, and what is refused and how."""

import base64
import io
import json
import math
import struct
import threading
import urllib.parse
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from werkzeug.test import TestResponse

from model.bundle import Bundle
from model.captioner import Captioner
from model.image import read_image
from model.options import SearchOptions
from server.access import HEADERS
from server.app import create_app
from server.batching import InferenceQueue
from server.decoding.pool import DecodingPool
from server.metrics import ServerMetrics
from server.settings import ServerSettings

Form = Callable[..., dict[str, Any]]

TEXT = b"forty bytes of text, not one of an image"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'


def png_of(width: int, height: int) -> bytes:
    """Returns a PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def problem(response: TestResponse, status: int, kind: str) -> dict[str, Any]:
    """Checks that a response is the problem expected, and returns its members."""
    assert response.mimetype == "application/problem+json"
    members: dict[str, Any] = response.get_json()
    assert (response.status_code, members["status"], members["type"]) == (status, status, kind)
    assert members["title"]
    assert members["detail"]
    return members


def test_one_photo_is_answered_in_the_promised_form(
    client: FlaskClient, captioner: Captioner, photo: bytes, form: Form
) -> None:
    response = client.post("/v1/predict?beam_size=3&captions=3&classes=5", **form(photo))
    answer = response.get_json()
    assert response.status_code == 200
    assert answer["model"] == {"name": captioner.config.name, "version": captioner.config.version}
    (result,) = answer["results"]
    assert list(result) == ["status", "width", "height", "captions", "classes", "timings_ms"]
    assert (result["status"], result["width"], result["height"]) == (200, 90, 60)
    assert list(result["timings_ms"]) == ["read", "queue", "encode", "search"]
    assert all(value >= 0 for value in result["timings_ms"].values())
    assert len(result["captions"]) == 3
    for caption in result["captions"]:
        assert list(caption) == ["text", "log_probability", "probability", "score", "words"]
        assert caption["text"] == " ".join(word["text"] for word in caption["words"])
        assert caption["probability"] == pytest.approx(math.exp(caption["log_probability"]), rel=1e-4)
    scores = [caption["score"] for caption in result["captions"]]
    assert scores == sorted(scores, reverse=True)
    assert len(result["classes"]) == 5
    assert list(result["classes"][0]) == ["id", "label", "probability"]


def test_the_answer_is_that_of_the_captioner(
    client: FlaskClient, captioner: Captioner, photo: bytes, form: Form
) -> None:
    (expected,) = captioner.predict(read_image(photo).pixels[np.newaxis], beam_size=2, captions=2)
    (result,) = client.post("/v1/predict?beam_size=2", **form(photo)).get_json()["results"]
    assert [caption["text"] for caption in result["captions"]] == [caption.text for caption in expected.captions]
    assert [item["id"] for item in result["classes"]] == [item.id for item in expected.classes]


@pytest.mark.parametrize(
    "options",
    [
        {"min_words": 4, "no_repeat_ngram": 1},
        {"max_words": 2},
        {"diverse_groups": 3, "beam_size": 1, "diversity": 2.5},
        {"sample": True, "temperature": 1.5, "seed": 7},
    ],
)
def test_options_of_the_search_are_those_of_the_captioner_in_the_query_and_in_json(
    client: FlaskClient, captioner: Captioner, photo: bytes, options: dict[str, Any]
) -> None:
    search = SearchOptions(**options).search(captioner.config.search, 2)
    (expected,) = captioner.predict(read_image(photo).pixels[np.newaxis], search=search, captions=2)
    query = "&".join(f"{name}={json.dumps(value)}" for name, value in options.items())
    body = {"image": base64.b64encode(photo).decode(), "captions": 2, **options}
    asked = client.post(f"/v1/predict?captions=2&{query}", data=photo), client.post("/v1/predict", json=body)
    for response in asked:
        (result,) = response.get_json()["results"]
        assert [caption["text"] for caption in result["captions"]] == [caption.text for caption in expected.captions]
    (plain,) = captioner.predict(read_image(photo).pixels[np.newaxis], captions=2)
    assert plain.captions != expected.captions


@pytest.mark.parametrize("content_type", [None, "image/jpeg", "image/png", "application/x-www-form-urlencoded", "x"])
def test_a_photo_as_the_body_is_answered_whatever_its_content_type(
    client: FlaskClient, photo: bytes, form: Form, content_type: str | None
) -> None:
    raw = client.post("/v1/predict", data=photo, content_type=content_type).get_json()
    as_form = client.post("/v1/predict", **form(photo)).get_json()
    assert raw["results"][0]["captions"] == as_form["results"][0]["captions"]


def test_a_form_field_without_file_name_is_an_image_too(client: FlaskClient, photo: bytes) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + photo + b"\r\n--b--\r\n"
    response = client.post("/v1/predict", data=body, content_type="multipart/form-data; boundary=b")
    assert response.status_code == 200


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "I;16", "1"])
def test_every_kind_of_pixel_is_answered(client: FlaskClient, form: Form, mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (8, 8)).save(buffer, "PNG")
    assert client.post("/v1/predict", **form(buffer.getvalue())).status_code == 200


@pytest.mark.parametrize(
    ("query", "captions", "classes"),
    [
        ("", 3, 5),
        ("?beam_size=1", 1, 5),
        ("?beam_size=10&captions=7", 7, 5),
        ("?captions=1&classes=0", 1, 0),
        ("?classes=20", 3, 20),
        ("?min_words=2&no_repeat_ngram=1&diverse_groups=1", 3, 5),
        ("?sample=true&temperature=2.5e0&seed=4294967295&captions=1", 1, 5),
    ],
)
def test_parameters_decide_how_much_is_answered(
    client: FlaskClient, captioner: Captioner, photo: bytes, form: Form, query: str, captions: int, classes: int
) -> None:
    (result,) = client.post(f"/v1/predict{query}", **form(photo)).get_json()["results"]
    assert (len(result["captions"]), len(result["classes"])) == (captions, min(classes, len(captioner.classes)))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("beam_size=0", ["beam_size", "1 to 10", "'0'"]),
        ("beam_size=11", ["beam_size", "1 to 10", "'11'"]),
        ("beam_size=two", ["beam_size", "1 to 10", "'two'"]),
        ("beam_size=", ["beam_size", "1 to 10", "''"]),
        ("beam_size=1_0", ["beam_size", "'1_0'"]),
        ("beam_size=" + "9" * 5000, ["beam_size", "1 to 10"]),
        ("beam_size=%EF%BC%93", ["beam_size", "1 to 10"]),
        ("beam_size=2&beam_size=3", ["beam_size", "once", "2 times"]),
        ("captions=4", ["captions", "1 to 3", "'4'"]),
        ("captions=0", ["captions", "1 to 10", "'0'"]),
        ("classes=21", ["classes", "0 to 20", "'21'"]),
        ("classes=-1", ["classes", "0 to 20", "'-1'"]),
        ("beam=3", ["beam", "beam_size, captions, classes"]),
        ("beam_size=4&diverse_groups=3", ["beam_size", "at most 3", "4"]),
        ("captions=7&diverse_groups=2", ["captions", "1 to 6", "'7'"]),
        ("min_words=7", ["min_words", "at most 6", "7"]),
        ("max_words=7", ["max_words", "at most 6", "model's own", "7"]),
        ("max_words=0", ["max_words", "1 to 100", "'0'"]),
        ("max_words=3&min_words=4", ["min_words", "at most 3", "4"]),
        ("no_repeat_ngram=-1", ["no_repeat_ngram", "0 to 100", "'-1'"]),
        ("diversity=1", ["diversity", "diverse_groups of 2 or more"]),
        ("diversity=much&diverse_groups=2", ["diversity", "a number from 0 to 10", "'much'"]),
        ("diverse_groups=2&diversity=nan", ["diversity", "a number from 0 to 10", "'nan'"]),
        ("sample=1", ["sample", "true or false", "'1'"]),
        ("seed=1", ["seed", "sample"]),
        ("seed=4294967296&sample=true", ["seed", "0 to 4294967295"]),
        ("temperature=0&sample=true", ["temperature", "0.01 to 10", "'0'"]),
        ("temperature=1&sample=false", ["temperature", "sample"]),
        ("beam_size=2&sample=true", ["beam_size", "none with sample", "2"]),
        ("diverse_groups=2&sample=true", ["diverse_groups", "none with sample"]),
    ],
)
def test_a_bad_parameter_is_named_with_what_was_expected(
    client: FlaskClient, photo: bytes, form: Form, query: str, words: list[str]
) -> None:
    detail = problem(client.post(f"/v1/predict?{query}", **form(photo)), 400, "/problems/invalid-parameter")["detail"]
    assert all(word in detail for word in words)
    assert len(detail) < 200


@pytest.mark.parametrize(
    ("data", "status", "kind"),
    [
        (TEXT, 415, "/problems/unsupported-image"),
        (SVG, 415, "/problems/unsupported-image"),
        (b"%PDF-1.7", 415, "/problems/unsupported-image"),
        (png_of(40_000, 40_000), 413, "/problems/image-too-large"),
        (png_of(10_000, 5_001), 413, "/problems/image-too-large"),
        (png_of(100, 100), 422, "/problems/corrupt-image"),
        (b"\xff\xd8\xff\xe0", 422, "/problems/corrupt-image"),
    ],
    ids=["text", "svg", "pdf", "huge png", "png just over the limit", "png without pixels", "jpeg of four bytes"],
)
def test_a_bad_image_alone_is_refused(client: FlaskClient, form: Form, data: bytes, status: int, kind: str) -> None:
    for request in (form(data), {"data": data}):
        members = problem(client.post("/v1/predict", **request), status, kind)
        assert "private-name" not in str(members)


def test_a_truncated_jpeg_is_refused(client: FlaskClient, photo: bytes, form: Form) -> None:
    problem(client.post("/v1/predict", **form(photo[: len(photo) // 2])), 422, "/problems/corrupt-image")


def test_a_bad_image_among_good_ones_leaves_them_alone(client: FlaskClient, photo: bytes, form: Form) -> None:
    alone = client.post("/v1/predict", **form(photo)).get_json()["results"][0]["captions"]
    response = client.post("/v1/predict", **form(TEXT, photo, photo[:300], png_of(40_000, 40_000), photo))
    results = response.get_json()["results"]
    assert response.status_code == 200
    assert [result["status"] for result in results] == [415, 200, 422, 413, 200]
    assert list(results[0]) == ["status", "type", "title", "detail"]
    for result in (results[1], results[4]):
        assert [caption["text"] for caption in result["captions"]] == [caption["text"] for caption in alone]


def test_several_images_that_are_all_bad_are_still_answered_one_by_one(client: FlaskClient, form: Form) -> None:
    response = client.post("/v1/predict", **form(TEXT, SVG))
    assert response.status_code == 200
    assert [result["status"] for result in response.get_json()["results"]] == [415, 415]


def test_sixteen_images_are_answered_and_seventeen_are_refused(client: FlaskClient, photo: bytes, form: Form) -> None:
    assert len(client.post("/v1/predict?classes=0", **form(*[photo] * 16)).get_json()["results"]) == 16
    detail = problem(client.post("/v1/predict", **form(*[photo] * 17)), 400, "/problems/malformed-body")["detail"]
    assert "16" in detail


PART = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\nx%s'
CLOSED = b"\r\n--b--\r\n"
MULTIPART = "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"", "image/jpeg", "empty"),
        (b"--b--\r\n", MULTIPART, "'image'"),
        (PART % (b"photo", CLOSED), MULTIPART, "'photo'"),
        (PART % (b"image", b""), MULTIPART, "cut off"),
        (PART % (b"image", CLOSED), "multipart/form-data", "multipart"),
        (PART % (b"image", CLOSED), "multipart/form-data; boundary=other", "multipart"),
        (b"--b\r\nNo-Disposition: x\r\n\r\nx" + CLOSED, MULTIPART, "multipart"),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx" + CLOSED, MULTIPART, "'image'"),
    ],
    ids=[
        "nothing",
        "no field",
        "unknown field",
        "cut off",
        "no boundary",
        "wrong boundary",
        "no disposition",
        "no name",
    ],
)
def test_a_malformed_body_is_refused(client: FlaskClient, body: bytes, content_type: str, words: str) -> None:
    response = client.post("/v1/predict", data=body, content_type=content_type)
    assert words in problem(response, 400, "/problems/malformed-body")["detail"]


def test_a_body_may_be_as_large_as_the_limit_and_no_larger(inference: InferenceQueue, decoding: DecodingPool) -> None:
    client = create_app(
        ServerSettings(max_body_bytes=2000), inference, decoding, ServerMetrics(), threading.Event()
    ).test_client()
    problem(client.post("/v1/predict", data=b"x" * 2000), 415, "/problems/unsupported-image")
    problem(client.post("/v1/predict", data=b"x" * 2001), 413, "/problems/body-too-large")


@settings(max_examples=60)
@given(
    start=st.sampled_from(
        [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"--b\r\nContent-Disposition: form-data; "]
    ),
    body=st.binary(max_size=200),
    content_type=st.sampled_from(["image/jpeg", MULTIPART]),
    query=st.text(max_size=20),
)
def test_no_bytes_at_all_are_a_mistake_of_the_server(
    client: FlaskClient, start: bytes, body: bytes, content_type: str, query: str
) -> None:
    for path in ("/v1/predict", f"/v1/predict?{urllib.parse.quote(query)}"):
        response = client.post(path, data=start + body, content_type=content_type)
        assert response.status_code in (400, 413, 415, 422)
        assert response.mimetype == "application/problem+json"


def chunked(stream: io.IOBase) -> dict[str, Any]:
    """Returns the environment that gunicorn gives a request whose body has no length."""
    return {"wsgi.input": stream, "wsgi.input_terminated": True}


@pytest.mark.parametrize(("size", "status", "kind"), [(2000, 415, "unsupported-image"), (2001, 413, "body-too-large")])
def test_a_body_without_length_has_the_same_limit(
    inference: InferenceQueue, decoding: DecodingPool, size: int, status: int, kind: str
) -> None:
    client = create_app(
        ServerSettings(max_body_bytes=2000), inference, decoding, ServerMetrics(), threading.Event()
    ).test_client()
    response = client.post("/v1/predict", environ_overrides=chunked(io.BytesIO(b"x" * size)))
    problem(response, status, f"/problems/{kind}")


def test_a_connection_lost_within_the_body_is_a_malformed_body(client: FlaskClient) -> None:
    class LostConnection(io.RawIOBase):
        def readinto(self, _buffer: object) -> int:
            raise ConnectionResetError

    response = client.post("/v1/predict", environ_overrides=chunked(LostConnection()))
    problem(response, 400, "/problems/malformed-body")


def test_the_model_is_described(client: FlaskClient, captioner: Captioner, toy: Bundle) -> None:
    answer = client.get("/v1/model").get_json()
    config = captioner.config
    assert (answer["name"], answer["version"], answer["engine"]) == (config.name, config.version, "litert")
    assert (
        answer["vocabulary_size"] == answer["architecture"]["decoder"]["vocabulary_size"] == len(captioner.vocabulary)
    )
    assert answer["classes"] == len(captioner.classes)
    assert answer["parameters"] == sum(value.size for value in toy.weights.values())
    assert (answer["good_at"], answer["bad_at"]) == ("nothing yet", "everything")
    assert (answer["scores"], answer["search"]["beam_size"]) == (config.scores, config.search.beam_size)
    assert answer["limits"]["body_bytes"] == 10 * 1024 * 1024
    assert (answer["limits"]["images"], answer["limits"]["beam_size"], answer["limits"]["classes"]) == (16, 10, 20)


def test_a_loaded_server_is_alive_and_ready(client: FlaskClient) -> None:
    assert client.get("/livez").get_json() == {"status": "alive"}
    assert client.get("/readyz").get_json() == {"status": "ready"}


@pytest.mark.parametrize("path", ["/", "/livez", "/v1/model", "/static/index.html", "/nowhere"])
def test_every_response_has_the_security_headers(client: FlaskClient, path: str) -> None:
    with client.get(path) as response:
        assert [(name, response.headers[name]) for name, _ in HEADERS] == list(HEADERS)


def test_the_page_is_kept_but_asked_for_again_and_answers_are_not_kept(client: FlaskClient) -> None:
    with client.get("/") as response:
        assert (response.status_code, response.mimetype) == (200, "text/html")
        assert response.headers["Cache-Control"] == "no-cache"
        etag = response.headers["ETag"]
    with client.get("/", headers={"If-None-Match": etag}) as response:
        assert response.status_code == 304
    assert client.get("/v1/model").headers["Cache-Control"] == "no-store"


def test_nothing_outside_the_page_s_folder_is_served(client: FlaskClient) -> None:
    for path in ("/static/../server/app.py", "/static/%2e%2e/server/app.py", "/static/"):
        problem(client.get(path), 404, "about:blank")
