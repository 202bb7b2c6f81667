"""Requests that mean no good: whatever they hold, they are answered or refused, at once and without a trace."""

import io
import json
import time
import urllib.parse

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from werkzeug.test import TestResponse

from server.logs import JsonFormatter, TextFormatter
from server.problems import PROBLEM_TYPE
from tests.server.conftest import Log, encoded

MULTIPART = "multipart/form-data; boundary=frontier"
END = b"\r\n--frontier--\r\n"
TINY = encoded(Image.new("RGB", (9, 7), "tomato"), "PNG")

BOUNDED = settings(max_examples=300, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])


def part(data: bytes, disposition: bytes = b'form-data; name="image"; filename="a.png"', more: bytes = b"") -> bytes:
    """Returns one part of a form without its end."""
    return b"\r\n--frontier\r\nContent-Disposition: " + disposition + b"\r\n" + more + b"\r\n" + data


FORMS = (
    part(TINY) + END,
    part(TINY, more=b"Content-Type: image/png\r\n") + part(b"no image") + END,
    part(TINY, b"form-data; name=image")
    + part(b"")
    + part(TINY, b"form-data; name=\"image\"; filename*=utf-8''a")
    + END,
    b"a preamble"
    + part(TINY, more=b"Content-Transfer-Encoding: base64\r\nX-Folded: a\r\n b\r\n")
    + END
    + b"an epilogue",
)
PIECES = (
    b"\r\n", b"\n", b"\r", b"\0", b"--", b"--frontier", END, b'"', b";", b"=", b"\\", b"%00", b"\xff\xfe", b"a" * 9000,
    b"filename*=utf-7''a", b"filename*0=a; filename*1=b", b"=?utf-8?q?a?=", b'name="image"', b"name=other",
    b"Content-Disposition: form-data\r\n", b"Content-Disposition: attachment; name=image\r\n",
    b"Content-Length: -1\r\n", b"Content-Type: multipart/mixed\r\n",
)  # fmt: skip


def send(client: FlaskClient, body: bytes, content_type: str = MULTIPART, query: str = "classes=0") -> TestResponse:
    """Sends bytes with a content type that need not be one."""
    return client.post(f"/v1/predict?{query}", data=body, environ_overrides={"CONTENT_TYPE": content_type})


def is_answered_or_refused(response: TestResponse) -> bool:
    """Checks the form of an answer, and returns whether it is one."""
    if response.status_code == 200:
        assert response.mimetype == "application/json"
        assert response.get_json()["results"]
        return True
    assert response.status_code in (400, 413, 415, 422)
    assert response.mimetype == PROBLEM_TYPE
    assert response.get_json()["status"] == response.status_code
    return False


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Damages a good form: parts of it taken out, repeated, or replaced by what means something in a form."""
    form = bytearray(draw(st.sampled_from(FORMS)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(form) - 1)))
        end = min(len(form), start + draw(st.integers(0, 40)))
        match draw(st.sampled_from(("piece", "bytes", "cut", "repeat", "end"))):
            case "piece":
                form[start : draw(st.sampled_from((start, end)))] = draw(st.sampled_from(PIECES))
            case "bytes":
                form[start:end] = draw(st.binary(max_size=20))
            case "cut":
                del form[start:end]
            case "repeat":
                form[end:end] = form[start:end] * draw(st.integers(1, 30))
            case "end":
                del form[start:]
    return bytes(form)


@BOUNDED
@given(damaged())
def test_a_damaged_form_is_answered_or_refused(client: FlaskClient, body: bytes) -> None:
    is_answered_or_refused(send(client, body))


@BOUNDED
@given(st.binary(max_size=300), st.sampled_from([b"", b"--frontier\r\n", part(b"")[2:], part(TINY)]))
def test_any_bytes_as_a_form_are_answered_or_refused(client: FlaskClient, body: bytes, start: bytes) -> None:
    is_answered_or_refused(send(client, start + body))


@BOUNDED
@given(
    st.text(st.characters(max_codepoint=255), max_size=60),
    st.sampled_from(
        ["", "multipart/form-data;", "multipart/form-data; boundary=", 'multipart/form-data; boundary="frontier']
    ),
)
def test_any_content_type_is_answered_or_refused(client: FlaskClient, rest: str, start: str) -> None:
    is_answered_or_refused(send(client, FORMS[0], start + rest))
    is_answered_or_refused(send(client, TINY, start + rest))


@BOUNDED
@given(
    st.lists(
        st.tuples(st.sampled_from(["beam_size", "captions", "classes", "beam_size[]", "\0", ""]) | st.text(max_size=9),
                  st.integers().map(str) | st.floats().map(str) | st.text(max_size=30)),
        max_size=4,
    )
)  # fmt: skip
def test_any_parameters_are_answered_or_refused(client: FlaskClient, parameters: list[tuple[str, str]]) -> None:
    query = urllib.parse.urlencode(parameters, errors="surrogatepass")
    response = send(client, TINY, "image/png", query)
    is_answered_or_refused(response)
    assert len(response.text) < 10_000


@pytest.mark.parametrize("query", ["%", "%zz=%", ";", "a" * 8000, "&".join(["beam_size=1"] * 700), "%ff%fe=%c3", "=1"])
def test_a_query_that_is_none_is_refused_in_few_words(client: FlaskClient, query: str) -> None:
    response = send(client, TINY, "image/png", query)
    assert not is_answered_or_refused(response)
    assert response.status_code == 400
    assert len(response.text) < 1000


@BOUNDED
@given(
    st.lists(st.sampled_from([(TINY, 200), (b"", 415), (b"no image", 415), (TINY[:40], 422)]), min_size=2, max_size=6)
)
def test_each_part_of_a_good_form_gets_what_it_deserves(client: FlaskClient, parts: list[tuple[bytes, int]]) -> None:
    answer = send(client, b"".join(part(data) for data, _ in parts) + END).get_json()
    assert [result["status"] for result in answer["results"]] == [status for _, status in parts]


@pytest.mark.parametrize("name", ["PNG", "JPEG"])
def test_a_content_type_of_a_part_is_no_promise(client: FlaskClient, name: str) -> None:
    data = encoded(Image.new("RGB", (9, 7), "tomato"), name)
    for kind in (
        b"image/gif",
        b"text/html; charset=utf-7",
        b"application/x-www-form-urlencoded",
        b"nonsense",
        b"",
    ):
        assert is_answered_or_refused(send(client, part(data, more=b"Content-Type: " + kind + b"\r\n") + END))


MEGABYTES = 10 * 1024**2 - 400
SLOW = {
    "carriage returns in front": b"\r" * MEGABYTES,
    "spaces after the boundary": b"--frontier" + b" " * MEGABYTES,
    "headers without end": b"--frontier\r\n" + b"a: b\r\n" * (MEGABYTES // 6),
    "headers": b"--frontier\r\n" + b"a: b\r\n" * (MEGABYTES // 6) + b"\r\nx" + END,
    "folded headers": b"--frontier\r\na: b\r\n" + b" c\r\n" * (MEGABYTES // 4) + b"\r\nx" + END,
    "attributes": part(TINY, b'form-data; name="image"' + b'; a="b"' * (MEGABYTES // 7)) + END,
    "semicolons": part(TINY, b"form-data" + b";" * MEGABYTES) + END,
    "backslashes": part(TINY, b'form-data; name="' + b"\\" * MEGABYTES + b'"') + END,
    "fields": part(b"x") * (MEGABYTES // 80) + END,
    "near boundaries": part(b"\r\n--frontie" * (MEGABYTES // 11)) + END,
}


@pytest.mark.parametrize("body", SLOW.values(), ids=SLOW)
def test_no_form_within_the_limit_takes_long_to_refuse(client: FlaskClient, body: bytes) -> None:
    begun = time.thread_time()
    assert not is_answered_or_refused(send(client, body))
    assert time.thread_time() - begun < 1


NAMES = (
    "../../../../private", "..\\..\\private", "/etc/private", "C:\\private", "file:///private", "private\0.png",
    "<script>private</script>", '"><img src=x onerror=private>', "javascript:private", "{{private}}", "${jndi:private}",
    "%0d%0aX-Private: 1", "private\r\nX-Private: 1", "%s%n private", "\x1b[31mprivate", "' or private --",
    "a" * 4000 + "private", "\u202eprivate", "=?utf-8?q?private?=",
)  # fmt: skip


@pytest.mark.parametrize("log", [JsonFormatter, TextFormatter], indirect=True)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_name_is_in_no_answer_and_in_no_log(client: FlaskClient, log: Log, name: str) -> None:
    raw = name.encode()
    coded = urllib.parse.quote(name).encode()
    for disposition in (
        b'form-data; name="image"; filename="' + raw + b'"',
        b"form-data; name=\"image\"; filename*=utf-8''" + coded,
        b'form-data; filename="' + coded + b'"; name=image',
    ):
        for data in (TINY, b"no image"):
            response = send(client, part(data, disposition) + END)
            is_answered_or_refused(response)
            assert "private" not in response.text.lower()
            assert "private" not in str(response.headers).lower()
    assert "private" not in log.text.lower()
    assert len(log.text.splitlines()) == 6


@pytest.mark.parametrize("log", [JsonFormatter, TextFormatter], indirect=True)
@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_a_field_or_a_path_is_never_html_and_never_in_the_log(
    client: FlaskClient, log: Log, name: str
) -> None:
    responses = [
        send(client, part(TINY, b'form-data; name="' + name.encode() + b'"') + END),
        send(client, TINY, "image/png", urllib.parse.quote(name)),
        *(client.get(f"{start}/{urllib.parse.quote(name)}") for start in ("", "/static", "/v1", "/docs")),
    ]
    for response in responses:
        assert response.status_code in (400, 404)
        assert response.mimetype == PROBLEM_TYPE
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "X-Private" not in response.headers
        response.close()
    assert "private" not in log.text.lower()


@pytest.mark.parametrize("path", ["/v1//model", "/static//main.js", "//evil.example/..", "/docs/", "/V1/model"])
def test_a_path_that_is_nearly_one_is_not_found_and_not_redirected(client: FlaskClient, path: str) -> None:
    response = client.get("/", environ_overrides={"PATH_INFO": path}, headers={"Host": "evil.example"})
    assert (response.status_code, response.mimetype) == (404, PROBLEM_TYPE)
    assert "Location" not in response.headers
    assert "evil" not in response.text


def test_ten_thousand_frames_and_a_huge_profile_are_one_image_each(client: FlaskClient) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=50)
    two = buffer.getvalue()
    second = two.index(b"\x21\xf9", two.index(b"\x21\xf9", 13) + 1)
    animation = two[:second] + two[second:-1] * 10_000 + b"\x3b"
    profiled = io.BytesIO()
    frames[0].save(profiled, "JPEG", icc_profile=bytes(3_000_000))
    begun = time.thread_time()
    answer = send(client, part(animation) + part(profiled.getvalue()) + END).get_json()
    assert time.thread_time() - begun < 1
    assert [(result["status"], result["width"]) for result in answer["results"]] == [(200, 16), (200, 16)]


def test_an_answer_is_json_whatever_the_client_accepts(client: FlaskClient) -> None:
    response = client.post("/v1/predict?<script>=1", data=TINY, headers={"Accept": "text/html"})
    assert response.mimetype == PROBLEM_TYPE
    assert json.loads(response.data)["status"] == 400
