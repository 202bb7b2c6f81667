"""The nginx configuration, by nginx itself, in front of real servers."""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed (Debian's nginx-light will do)"),
]

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx" / "nginx.conf"
REQUEST_SECONDS = 1.0

Server = contextlib.AbstractContextManager[str]


def changed(text: str, pattern: str, replacement: str) -> str:
    text, count = re.subn(pattern, lambda _: replacement, text)
    assert count, f"expected {pattern} in the configuration"
    return text


class Proxy:
    """A running nginx with the repository's configuration; addresses, directories and perhaps the rate differ."""

    def __init__(self, place: Path, urls: list[str], rate: str | None = None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        addresses = [urllib.parse.urlsplit(url).netloc for url in urls]
        text = CONFIGURATION.read_text()
        text = changed(text, r"server server:8000;", " ".join(f"server {address};" for address in addresses))
        text = changed(text, r"(?m)^( *)listen 8080;", f"listen 127.0.0.1:{self.port};")
        text = changed(text, r"/tmp/", f"{place}/")  # noqa: S108 - nginx's, not ours
        text = changed(text, r"access_log /dev/stdout", f"access_log {place}/access.log")
        if rate is not None:
            text = changed(text, r"rate=10r/s", f"rate={rate}")
        self.place = place
        file = place / "nginx.conf"
        file.write_text(text)
        user = "user root; " if os.geteuid() == 0 else ""
        subprocess.run(["nginx", "-t", "-q", "-g", user, "-c", file], check=True)
        self.process = subprocess.Popen(["nginx", "-g", f"daemon off; {user}", "-c", file])
        wait_until(self.accepts)

    def accepts(self) -> bool:
        """Returns whether nginx takes connections; fails if it has ended."""
        assert self.process.poll() is None
        with contextlib.suppress(ConnectionRefusedError), self.connect():
            return True
        return False

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, Any]:
        """Returns status, headers and parsed body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            content = answer.read()
        is_json = "json" in (answer.getheader("Content-Type") or "")
        return answer.status, answer.headers, json.loads(content) if is_json else content


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Callable[..., Proxy]]:
    """Returns a function from servers' URLs to a running nginx; none outlives the test."""
    started: list[Proxy] = []

    def begin(*urls: str, rate: str | None = None) -> Proxy:
        place = tmp_path / str(len(started))
        place.mkdir()
        started.append(Proxy(place, list(urls), rate))
        return started[-1]

    yield begin
    for item in started:
        with item.process as process:
            process.terminate()


@pytest.fixture(scope="module")
def hasty_server(serve: Callable[..., Server], toy_bundle: Path) -> Iterator[str]:
    """Yields the URL of a server that has little patience, and threads for two requests."""
    with serve(toy_bundle, "--request-seconds", str(REQUEST_SECONDS), "--threads", "2") as url:
        yield url


def test_a_picture_is_captioned_under_the_id_that_the_client_gave(
    proxy: Callable[..., Proxy], hasty_server: str, drawing: bytes
) -> None:
    nginx = proxy(hasty_server)
    status, headers, answer = nginx.ask("POST", "/v1/predict?captions=1", drawing, X_Request_ID="my-id.7")
    assert (status, headers["X-Request-ID"]) == (200, "my-id.7")
    assert answer["results"][0]["status"] == 200
    status, headers, _ = nginx.ask("GET", "/?secret=1", X_Request_ID="{no id}")
    assert status == 200
    assert re.fullmatch("[0-9a-f]{32}", headers["X-Request-ID"])
    assert nginx.ask("PUT", "/a-secret.jpg", drawing)[0] == 404
    nginx.process.terminate()
    nginx.process.wait(10)
    lines = [json.loads(line) for line in (nginx.place / "access.log").read_text().splitlines()]
    assert [line["id"] for line in lines if line["status"] == 200] == ["my-id.7", headers["X-Request-ID"]]
    assert "secret" not in str(lines)
    assert {line["route"] for line in lines} == {"/", "/v1/predict", "unknown"}


def test_slow_clients_are_waited_for_in_nginx_and_hold_up_nobody(
    proxy: Callable[..., Proxy], hasty_server: str, drawing: bytes
) -> None:
    nginx = proxy(hasty_server)
    head = f"POST /v1/predict HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: {len(drawing)}\r\n\r\n"
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(nginx.connect()) for _ in range(8)]
        for client in slow:
            client.sendall(head.encode() + drawing[:1000])
        waited = threading.Event()
        threading.Timer(2 * REQUEST_SECONDS, waited.set).start()
        answers = 0
        while not waited.is_set():
            assert nginx.ask("GET", "/readyz")[0] == 200
            answers += 1
        assert answers > 20
        for client in slow:
            client.sendall(drawing[1000:])
        for client in slow:
            answer = b"".join(iter(lambda client=client: client.recv(65536), b""))  # type: ignore[misc]
            assert answer.startswith(b"HTTP/1.1 200 "), answer


def test_what_nginx_answers_itself_is_a_problem_too(
    proxy: Callable[..., Proxy], hasty_server: str, drawing: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    limited = proxy(hasty_server, rate="1r/m")
    assert {limited.ask("POST", "/v1/predict", b"no image")[0] for _ in range(21)} == {415}
    unlimited = proxy(hasty_server)
    cases = [(413, unlimited, bytes(10 * 1024**2 + 1)), (429, limited, drawing), (502, proxy(nowhere), drawing)]
    for expected, nginx, body in cases:
        status, headers, problem = nginx.ask("POST", "/v1/predict", body)
        assert (status, problem["status"], headers["Content-Type"]) == (expected, expected, "application/problem+json")
        assert problem["detail"].startswith("the caption server " if expected == 502 else "expected ")
        assert headers["X-Request-ID"]
        assert headers["Retry-After"] == (None if expected == 413 else "1")
    assert unlimited.ask("GET", "/metrics")[0] == 404


def test_a_restart_of_one_of_two_servers_drops_nothing(
    proxy: Callable[..., Proxy], serve: Callable[..., Server], toy_bundle: Path, drawing: bytes
) -> None:
    statuses: list[int] = []
    done = threading.Event()
    with serve(toy_bundle) as stays, contextlib.ExitStack() as stack:
        nginx = proxy(stays, stack.enter_context(serve(toy_bundle, "--drain-seconds", "0.5")), rate="10000r/s")

        def load() -> None:
            while not done.is_set():
                statuses.append(nginx.ask("POST", "/v1/predict", drawing)[0])

        clients = [threading.Thread(target=load) for _ in range(8)]
        for client in clients:
            client.start()
        stack.close()
        before = len(statuses)
        try:
            wait_until(lambda: len(statuses) >= before + 50)
        finally:
            done.set()
        for client in clients:
            client.join()
    assert Counter(statuses) == {200: len(statuses)}
