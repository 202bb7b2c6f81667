"""What people send first: JSON, compressed bodies, and much that is no photo but tells what it is."""

import base64
import gzip
import json
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from werkzeug.test import TestResponse

from server.bodies import json_limit
from server.settings import ServerSettings
from tests.server.conftest import encoded

TINY = encoded(Image.new("RGB", (9, 7), "tomato"), "PNG")
TEXT = base64.b64encode(TINY).decode()
URI = f"data:image/png;base64,{TEXT}"
LIMIT = ServerSettings().max_body_bytes
MULTIPART = "multipart/form-data; boundary=b"


def part(disposition: bytes, data: bytes) -> bytes:
    return b"--b\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + data + b"\r\n--b--\r\n"


def sentence(response: TestResponse, status: int = 400, kind: str = "malformed-body") -> str:
    """Checks that a response is a problem, and returns its detail."""
    members = response.get_json()
    assert (response.status_code, members["type"]) == (status, f"/problems/{kind}"), members
    return str(members["detail"])


@pytest.mark.parametrize("text", [TEXT, URI, "\n".join((TEXT[:40], TEXT[40:]))])
def test_a_photo_in_json_is_answered_like_the_photo(client: FlaskClient, text: str) -> None:
    plain = client.post("/v1/predict?captions=1&classes=2", data=TINY).get_json()["results"]
    inside = client.post("/v1/predict", json={"image": text, "captions": 1, "classes": 2}).get_json()["results"]
    outside = client.post("/v1/predict?captions=1&classes=2", json={"images": [text]}).get_json()["results"]
    for result in (*plain, *inside, *outside):
        del result["timings_ms"]
    assert plain == inside == outside


def test_json_without_its_content_type_and_a_photo_with_it_are_what_their_bytes_say(client: FlaskClient) -> None:
    body = json.dumps({"image": TEXT})
    for content_type in ("application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8"):
        assert client.post("/v1/predict", data=body, content_type=content_type).status_code == 200
    assert client.post("/v1/predict", data=TINY, content_type="application/json").status_code == 200


def test_each_image_in_json_gets_what_it_deserves(client: FlaskClient) -> None:
    damaged = base64.b64encode(TINY[:40]).decode()
    answer = client.post("/v1/predict", json={"images": [TEXT, damaged, URI]}).get_json()
    assert [result["status"] for result in answer["results"]] == [200, 422, 200]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "received neither"),
        ({"image": TEXT, "images": [TEXT]}, "received both"),
        ({"images": []}, "$.images"),
        ({"images": [TEXT] * 17}, "1 to 16"),
        ({"image": 7}, "$.image"),
        ({"image": TEXT, "beam": 2}, "`beam`"),
        ({"image": TEXT, "beam_size": 11}, "$.beam_size"),
        ({"image": TEXT, "beam_size": True}, "$.beam_size"),
        ({"image": ""}, "empty text"),
        ({"image": "photo.jpg"}, "base64"),
        ({"image": TEXT[:-2]}, "base64"),
        ({"image": "https://example.org/a.jpg"}, "never fetches"),
        ({"image": TEXT, "x" * 9000: 1}, "\u2026"),
        ([TEXT], "expected `object`"),
    ],
)
def test_json_that_is_not_as_described_is_refused_by_name(client: FlaskClient, body: Any, words: str) -> None:
    detail = sentence(client.post("/v1/predict", json=body))
    assert words.lower() in detail.lower()
    assert len(detail) < 500


def test_parameters_are_in_the_json_or_in_the_query(client: FlaskClient) -> None:
    detail = sentence(
        client.post("/v1/predict?classes=1", json={"image": TEXT, "captions": 1}), 400, "invalid-parameter"
    )
    assert "both" in detail
    detail = sentence(
        client.post("/v1/predict", json={"image": TEXT, "captions": 3, "beam_size": 2}), 400, "invalid-parameter"
    )
    assert "1 to 2" in detail


@pytest.mark.parametrize(
    "body",
    [
        b'{"image":' + b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"images":[' + b"[]," * (LIMIT // 3 - 100) + b"[]]}",
        b'{"image":"' + b"A" * (LIMIT - 100),
        b"{" + b" " * (LIMIT - 100),
        b"\xff\xfe{",
        b'{"image":"\xff"}',
        b'{"beam_size":' + b"9" * (LIMIT - 100) + b"}",
    ],
    ids=["deep arrays", "deep objects", "nested arrays", "no end", "spaces", "UTF-16", "no UTF-8", "a long number"],
)
def test_hostile_json_is_refused_at_once(client: FlaskClient, body: bytes) -> None:
    begun = time.thread_time()
    sentence(client.post("/v1/predict", data=body, content_type="application/json"))
    assert time.thread_time() - begun < 1


def test_the_limit_counts_what_images_in_base64_have_and_says_so(client: FlaskClient) -> None:
    def post(size: int) -> TestResponse:
        text = base64.b64encode(TINY.ljust(size, b"\0")).decode()
        return client.post("/v1/predict", json={"image": text, "classes": 0})

    assert post(LIMIT).status_code == 200
    for size in (LIMIT + 1, json_limit(LIMIT)):
        assert f"images of at most {LIMIT} bytes" in sentence(post(size), 413, "body-too-large")
    image = TINY.ljust(LIMIT + 1, b"\0")
    sentence(client.post("/v1/predict", data=image, content_type="application/json"), 413, "body-too-large")


def bare_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("X-GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", bare_deflate),
        ("identity", bytes),
    ],
)
def test_a_compressed_body_is_read(client: FlaskClient, coding: str, pack: Callable[[bytes], bytes]) -> None:
    headers = {"Content-Encoding": coding}
    assert client.post("/v1/predict", data=pack(TINY), headers=headers).status_code == 200
    body = pack(json.dumps({"image": TEXT}).encode())
    assert client.post("/v1/predict", data=body, headers=headers, content_type="application/json").status_code == 200


def test_a_body_that_grows_beyond_the_limit_is_refused(client: FlaskClient) -> None:
    for pack, coding in ((gzip.compress, "gzip"), (zlib.compress, "deflate")):
        bomb = pack(bytes(50 * LIMIT))
        begun = time.thread_time()
        response = client.post("/v1/predict", data=bomb, headers={"Content-Encoding": coding})
        sentence(response, 413, "body-too-large")
        assert time.thread_time() - begun < 1


@pytest.mark.parametrize(
    "body",
    [b"", b"x", TINY, gzip.compress(TINY)[:-9], gzip.compress(TINY) + b"more"],
    ids=["empty", "a letter", "plain", "cut off", "followed by more"],
)
def test_a_compressed_body_that_is_not_whole_is_refused(client: FlaskClient, body: bytes) -> None:
    for coding in ("gzip", "deflate"):
        sentence(client.post("/v1/predict", data=body, headers={"Content-Encoding": coding}))


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "x" * 5000])
def test_an_unknown_coding_is_refused_with_those_that_are_known(client: FlaskClient, coding: str) -> None:
    response = client.post("/v1/predict", data=TINY, headers={"Content-Encoding": coding})
    assert "gzip or deflate" in sentence(response, 415, "unsupported-coding")
    assert response.headers["Accept-Encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"", "", ["empty body", "curl"]),
        (b"", "application/json", ["empty body", "curl"]),
        (part(b'name="image"; filename=""', b""), MULTIPART, ["none was chosen", "curl"]),
        (part(b'name="image"', b""), MULTIPART, ["none was chosen"]),
        (part(b'name="image"; filename="a"', TINY), "multipart/form-data", ["boundary", "curl"]),
        (part(b'name="image"; filename="a"', TINY), "", ["boundary", "curl"]),
        (part(b'name="image"', b"photo.jpg"), MULTIPART, ["name of a file", "@"]),
        (part(b'name="image"', b"some words"), MULTIPART, ["field of text", "@"]),
        (part(b'name="image"', TEXT.encode()), MULTIPART, ["base64", "application/json"]),
        (part(b'name="captions"', b"2"), MULTIPART, ["'captions'", "query"]),
        (b"image=photo.jpg", "application/x-www-form-urlencoded", ["form fields", "-F image=@"]),
        (b"photo.jpg", "", ["name of a file", "@"]),
        (TEXT.encode(), "", ["base64", "application/json"]),
        (base64.urlsafe_b64encode(TINY), "text/plain", ["base64"]),
        (URI.encode(), "", ["base64", "application/json"]),
        (b"https://example.org/photo.jpg", "text/plain", ["URL", "never fetches", "curl"]),
    ],
)
def test_an_envelope_that_is_at_fault_is_named_with_what_to_send(
    client: FlaskClient, body: bytes, content_type: str, words: list[str]
) -> None:
    detail = sentence(client.post("/v1/predict", data=body, content_type=content_type or None))
    assert all(word in detail for word in words), detail
    assert len(detail) < 320


NAMES = st.binary(max_size=60).filter(lambda name: not set(name) & set(b"\r\n"))


@given(NAMES | st.sampled_from(["表.jpg", "表", "能", "ソ"]).map(lambda name: name.encode("shift-jis", "replace")))
def test_no_file_name_refuses_a_photo(client: FlaskClient, name: bytes) -> None:
    if b"name" in name.lower():
        return  # it could be another parameter behind a quote
    body = part(b'name="image"; filename="' + name + b'"', TINY)
    assert client.post("/v1/predict?classes=0&beam_size=1", data=body, content_type=MULTIPART).status_code == 200


@pytest.mark.parametrize(
    ("name", "encoding"), [("表", "shift-jis"), ("照片.jpg", "gb2312"), ("Ä.jpg", "latin-1"), ("été", "utf-8")]
)
def test_a_name_in_front_of_the_field_s_hides_nothing(client: FlaskClient, name: str, encoding: str) -> None:
    body = part(b'filename="' + name.encode(encoding) + b'"; name="image"', TINY)
    assert client.post("/v1/predict", data=body, content_type=MULTIPART).status_code == 200


def test_a_caption_alone_is_a_line_for_each_photo(client: FlaskClient, photo: bytes) -> None:
    images = [base64.b64encode(data).decode() for data in (photo, b"no photo", photo)]
    answer = client.post("/v1/predict", json={"images": images}).get_json()["results"]
    response = client.post("/v1/predict", json={"images": images}, headers={"Accept": "text/plain"})
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.text == f"{answer[0]['captions'][0]['text']}\n\n{answer[2]['captions'][0]['text']}\n"


@pytest.mark.parametrize("accept", ["*/*", "text/html", "text/plain;q=0.5, application/json", "application/json"])
def test_json_is_answered_unless_text_is_asked_for(client: FlaskClient, accept: str) -> None:
    assert client.post("/v1/predict", data=TINY, headers={"Accept": accept}).mimetype == "application/json"
