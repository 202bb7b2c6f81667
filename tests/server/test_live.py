"""A real gunicorn on 127.0.0.1: what the test client cannot show."""

import contextlib
import hashlib
import http.client
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from safetensors.numpy import save_file

from model.bundle import Bundle, save_bundle

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: here\r\n"


def drawn_photo() -> bytes:
    """Returns a JPEG of a meadow, a sky and a brown thing that could be a dog."""
    image = Image.new("RGB", (320, 240), "skyblue")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 140, 320, 240), fill="green")
    draw.ellipse((110, 100, 220, 170), fill="saddlebrown")
    draw.ellipse((200, 70, 250, 120), fill="saddlebrown")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def address(url: str) -> tuple[str, int]:
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def request(url: str, method: str, path: str, body: bytes | None = None, **options: Any) -> tuple[int, str, Any]:
    """Returns status, content type and parsed body of an answer."""
    connection = http.client.HTTPConnection(*address(url), timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body, **options)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], json.loads(response.read())


def say(url: str, text: bytes) -> bytes:
    """Returns all that the server answers to bytes that need not be HTTP, after which the client says no more."""
    with socket.create_connection(address(url), timeout=30) as client:
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_a_drawn_photo_is_captioned(live_server: str) -> None:
    status, content_type, answer = request(live_server, "POST", "/v1/predict?captions=2", drawn_photo())
    assert (status, content_type) == (200, "application/json")
    (result,) = answer["results"]
    assert (result["status"], result["width"], result["height"]) == (200, 320, 240)
    assert len(result["captions"]) == 2
    assert len(result["classes"]) == 5
    assert all(caption["text"] and 0 < caption["probability"] <= 1 for caption in result["captions"])
    assert set(result["timings_ms"]) == {"read", "queue", "encode", "search"}


def test_a_photo_in_chunks_without_a_length_is_captioned(live_server: str) -> None:
    photo = drawn_photo()
    chunks: Any = iter([photo[:1], photo[1:1000], photo[1000:]])
    headers = {"Content-Type": "text/html"}
    status, _, answer = request(live_server, "POST", "/v1/predict", chunks, headers=headers, encode_chunked=True)
    assert (status, answer["results"][0]["width"]) == (200, 320)


def test_the_page_and_its_files_are_served(live_server: str) -> None:
    connection = http.client.HTTPConnection(*address(live_server), timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        response = connection.getresponse()
        assert (response.status, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert b"</html>" in response.read()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_fifty_megabytes_is_refused_at_once(live_server: str, chunked: bool) -> None:
    begun = time.monotonic()
    body: Any = iter([bytes(1_000_000)] * 50) if chunked else bytes(50_000_000)
    status, content_type, answer = request(live_server, "POST", "/v1/predict", body, encode_chunked=chunked)
    assert (status, content_type) == (413, "application/problem+json")
    assert answer["type"] == "/problems/body-too-large"
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    "body",
    [
        b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\nhello\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nff\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5;" + b"a" * 100_000 + b"\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nno trailer\r\n\r\n",
        b"Content-Length: 100\r\n\r\nhello",
    ],
)
def test_a_broken_body_is_a_problem(live_server: str, body: bytes) -> None:
    head, _, answer = say(live_server, HEAD + body).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer)["type"] == "/problems/malformed-body"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"this is not HTTP\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: here\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: here\r\nLong: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (HEAD + b"Transfer-Encoding: telepathy\r\n\r\n", 501),
        (HEAD + b"Content-Length: -5\r\n\r\nhello", 400),
        # Of two lengths a proxy may have believed the other one.
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
        (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Content-Type: image/\0png\r\nContent-Length: 5\r\n\r\nhello", 400),
        (b"POST /v1/predict?\xff HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\nhello", 400),
    ],
)
def test_what_is_no_proper_http_is_answered_with_a_problem(live_server: str, text: bytes, status: int) -> None:
    head, _, answer = say(live_server, text).partition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json" in head
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert json.loads(answer)["status"] == status


def test_clients_that_do_not_hang_up_keep_nobody_else_waiting(live_server: str) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            client = stack.enter_context(socket.create_connection(address(live_server), timeout=30))
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
            assert b"200 OK" in client.recv(65536)
        begun = time.monotonic()
        assert request(live_server, "GET", "/livez")[0] == 200
        assert time.monotonic() - begun < 10


def test_each_of_256_connections_at_once_is_answered_or_told_to_come_back(live_server: str) -> None:
    photo = drawn_photo()
    together = threading.Barrier(256)

    def ask(_number: int) -> tuple[int, bool]:
        connection = http.client.HTTPConnection(*address(live_server), timeout=60)
        with contextlib.closing(connection):
            connection.connect()
            together.wait(60)
            connection.request("POST", "/v1/predict", photo)
            response = connection.getresponse()
            response.read()
            return response.status, "Retry-After" in response.headers

    with ThreadPoolExecutor(256) as pool:
        answers = Counter(pool.map(ask, range(256)))
    assert answers.keys() <= {(200, False), (503, True)}
    assert answers[200, False] > 0


def test_the_server_is_still_ready_after_all_of_this(live_server: str) -> None:
    assert request(live_server, "GET", "/readyz")[0] == 200


def test_a_request_that_is_being_answered_when_the_server_is_told_to_stop_is_answered(
    serve: Callable[[Path], contextlib.AbstractContextManager[str]], toy_bundle: Path
) -> None:
    photo = drawn_photo()
    with socket.socket() as client:
        with serve(toy_bundle) as url:
            client.settimeout(30)
            client.connect(address(url))
            client.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(photo) + photo[:100])
            # Once it says "continue", the request is being read; leaving the block then sends SIGTERM.
            assert client.recv(65536).startswith(b"HTTP/1.1 100 Continue")
            client.sendall(photo[100:])
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"captions"' in answer


def test_a_server_whose_captioner_cannot_be_loaded_stops_with_an_error(toy: Bundle, tmp_path: Path) -> None:
    # The command checks the files only; that a number is not one shows when the worker loads the weights.
    # `save_bundle` would refuse, so the weights are replaced afterwards and the manifest told so.
    path = tmp_path / "broken"
    save_bundle(path, toy)
    save_file({name: np.full_like(value, np.nan) for name, value in toy.weights.items()}, path / "weights.safetensors")
    manifest = json.loads((path / "manifest.json").read_text())
    weights = (path / "weights.safetensors").read_bytes()
    manifest["files"]["weights.safetensors"] = {"sha256": hashlib.sha256(weights).hexdigest(), "bytes": len(weights)}
    (path / "manifest.json").write_text(json.dumps(manifest))
    command = [sys.executable, "-m", "server.cli", "--port", "0", "--bundle", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert "cannot load the bundle" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Ready" not in done.stdout


def test_ctrl_c_ends_the_server_without_a_traceback(toy_bundle: Path) -> None:
    command = [sys.executable, "-m", "server.cli", "--port", "0", "--bundle", str(toy_bundle)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in errors
