"""HTTP that a proxy could read differently is refused; what a client may well send is not."""

import http.client
import json
import re
import socket
import urllib.parse

import pytest

pytestmark = pytest.mark.slow

BODY = b"5\r\nhello\r\n0\r\n\r\n"


def say(url: str, text: bytes) -> tuple[int, dict[str, str], bytes]:
    """Returns status, headers and body of the answer to bytes after which the client says no more."""
    parts = urllib.parse.urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as client:
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(client)
        response.begin()
        return response.status, dict(response.headers), response.read()


def get(path: str, *headers: bytes, version: bytes = b"1.1") -> bytes:
    return b"GET %s HTTP/%s\r\n" % (path.encode(), version) + b"".join(line + b"\r\n" for line in headers) + b"\r\n"


@pytest.mark.parametrize(
    "request_text",
    [
        get("/livez"),
        get("/livez", b"Host: here", b"Host: here"),
        get("/livez", b"Host: here", b"Host: there"),
        get("/livez", b"Host: a b"),
        get("/livez", b"Host: here/there"),
        get("/livez", b"Host: someone@here"),
        get("/livez", b"Host: <script>"),
        get("/livez", b"Host: here:http"),
        get("/livez", b"Host: h\xc3\xa9re"),
        get("/livez", b"Host: a b", version=b"1.0"),
    ],
)
def test_a_host_that_is_none_is_refused(live_server: str, request_text: bytes) -> None:
    status, headers, body = say(live_server, request_text)
    assert (status, headers["Content-Type"]) == (400, "application/problem+json")
    assert json.loads(body)["status"] == 400


@pytest.mark.parametrize("host", [b"here", b"Here.example:80", b"127.0.0.1:8000", b"[::1]:8000", b"a_b", b"", b"here:"])
def test_a_host_is_taken_in_each_of_its_forms(live_server: str, host: bytes) -> None:
    assert say(live_server, get("/livez", b"Host: " + host))[0] == 200


def test_http_1_0_needs_no_host(live_server: str) -> None:
    assert say(live_server, get("/livez", version=b"1.0"))[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([b"Transfer-Encoding: gzip, chunked"], 501),
        ([b"Transfer-Encoding: deflate", b"Transfer-Encoding: chunked"], 501),
        ([b"Transfer-Encoding: identity, chunked"], 501),
        ([b"Transfer-Encoding: gzip"], 501),
        ([b"Transfer-Encoding: ,chunked"], 501),
        ([b"Transfer-Encoding: chunked, gzip"], 400),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: telepathy"], 400),
        ([b"Transfer-Encoding: chunked, chunked"], 400),
        ([b"Transfer-Encoding: chunked", b"Content-Length: 15"], 400),
        ([b"Transfer-Encoding: gzip, chunked", b"Content-Length: 15"], 501),
    ],
)
def test_a_body_is_framed_in_one_way_only(live_server: str, headers: list[bytes], status: int) -> None:
    lines = b"".join(line + b"\r\n" for line in headers)
    text = b"POST /v1/predict HTTP/1.1\r\nHost: here\r\n" + lines + b"\r\n" + BODY
    answered, answer_headers, body = say(live_server, text)
    assert (answered, json.loads(body)["status"]) == (status, status)
    assert answer_headers["Connection"] == "close"


def test_chunked_is_chunked_however_it_is_written(live_server: str) -> None:
    text = b"POST /v1/predict HTTP/1.1\r\nHost: here\r\nTE: gzip, trailers\r\nTransfer-Encoding: Chunked\r\n\r\n" + BODY
    assert say(live_server, text)[0] == 415


@pytest.mark.parametrize(
    "header",
    [b"SCRIPT_NAME: /livez", b"SCRIPT-NAME: /livez", b"PATH_INFO: /nowhere", b"X-Forwarded-Proto: https",
     b"X-Forwarded-Protocol: ssl", b"X-Forwarded-Ssl: on", b"X-Forwarded-Prefix: /v1"],
)  # fmt: skip
def test_no_header_changes_path_or_scheme(live_server: str, header: bytes) -> None:
    plain = say(live_server, get("/static/main.js", b"Host: here"))
    answer = say(live_server, get("/static/main.js", b"Host: here", header))
    assert (answer[0], answer[2]) == (200, plain[2])
    # The two contradict each other, which was refused where a scheme was taken from them.
    both = (b"Host: here", header, b"X-Forwarded-Ssl: off", b"X-Forwarded-Proto: https")
    assert say(live_server, get("/livez", *both))[0] == 200


@pytest.mark.parametrize(
    "value",
    [b"bytes=0-1,3-4", b"bytes=9-5", b"bytes=a-b", b"bytes", b"bytes=", b"bytes=-", b"lines=0-1", b"0-1",
     b"bytes=0-" + b"9" * 5000, b"bytes=" + b"0-0," * 1000 + b"0-0", b"bytes=\xb2-"],
)  # fmt: skip
def test_a_range_that_is_not_served_is_ignored(live_server: str, value: bytes) -> None:
    whole = say(live_server, get("/static/main.js", b"Host: here"))[2]
    status, _, body = say(live_server, get("/static/main.js", b"Host: here", b"Range: " + value))
    assert (status, body) == (200, whole)
    assert say(live_server, get("/v1/model", b"Host: here", b"Range: " + value))[0] == 200


def test_one_range_is_served_and_one_beyond_the_end_is_not(live_server: str) -> None:
    whole = say(live_server, get("/static/main.js", b"Host: here"))[2]
    for value, part in ((b"bytes=0-9", whole[:10]), (b"Bytes=10-", whole[10:]), (b"bytes=-7", whole[-7:])):
        status, headers, body = say(live_server, get("/static/main.js", b"Host: here", b"Range: " + value))
        assert (status, body) == (206, part)
        assert headers["Content-Range"].endswith(f"/{len(whole)}")
    status, headers, _ = say(live_server, get("/static/main.js", b"Host: here", b"Range: bytes=99999999-"))
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(whole)}")


def test_a_range_means_nothing_for_a_head(live_server: str) -> None:
    text = get("/static/main.js", b"Host: here", b"Range: bytes=0-9").replace(b"GET", b"HEAD")
    parts = urllib.parse.urlsplit(live_server)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as client:
        client.sendall(text)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "option", [b"close", b"Close", b"close, te", b"keep-alive, close"],
)  # fmt: skip
def test_a_connection_is_closed_when_the_client_says_so(live_server: str, option: bytes) -> None:
    assert say(live_server, get("/livez", b"Host: here", b"Connection: " + option))[1]["Connection"] == "close"


def test_requests_behind_each_other_are_answered_in_order(live_server: str) -> None:
    parts = urllib.parse.urlsplit(live_server)
    skipped = b"POST /livez HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\nhello"
    text = get("/livez", b"Host: here") + skipped + get("/nowhere", b"Host: here") + get("/v1/model", b"Host: here")
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as client:
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        answers = b"".join(iter(lambda: client.recv(65536), b""))
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"405", b"404", b"200"]
