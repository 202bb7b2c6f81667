"""Where the server listens: both families of addresses, Unix sockets, and how long it keeps idle connections."""

import http.client
import json
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.errors import ConfigError
from server.listening import invitation, listen
from server.settings import ServerSettings

ROOT = Path(__file__).parent.parent.parent
Run = Callable[..., "Running"]


class Running:
    """A real server, started with flags and ready."""

    def __init__(self, bundle: Path, log: Path, *flags: str) -> None:
        command = [sys.executable, "-m", "server.cli", "--port", "0", "--bundle", str(bundle), "--drain-seconds", "0"]
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [*command, *flags], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        assert self.line.startswith("Ready: "), log.read_text()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture
def run(toy_bundle: Path, tmp_path: Path) -> Iterator[Run]:
    """Yields a function from flags to a server that is ready; none outlives the test."""
    started: list[Running] = []

    def make(*flags: str) -> Running:
        started.append(Running(toy_bundle, tmp_path / "log.txt", *flags))
        return started[-1]

    yield make
    for server in started:
        server.process.kill()
        server.process.communicate()


def asked(client: socket.socket, path: str = "/livez", method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
    """Returns status and body of an answer over a connection, which stays open."""
    head = f"{method} {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body)
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.status, response.read()


def to_unix(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(str(path))
    return client


@pytest.mark.slow
def test_a_host_of_two_colons_serves_both_families(run: Run) -> None:
    server = run("--host", "::", "--root-path", "/caption")
    port = int(server.line.split("[::1]:")[1].split("/")[0])
    assert server.line == f"Ready: open http://[::1]:{port}/caption/ (Ctrl-C stops)\n"
    for address in ("127.0.0.1", "::1"):
        with socket.create_connection((address, port), timeout=30) as client:
            assert asked(client) == asked(client, "/caption/livez")
            assert asked(client)[0] == 200
    assert server.stop() == 0


@pytest.mark.slow
def test_a_unix_socket_serves_photos_and_is_gone_afterwards(run: Run, tmp_path: Path, photo: bytes) -> None:
    path = tmp_path / "a:socket"
    server = run("--host", f"unix:{path}")
    assert server.line == f"Ready: listening on unix:{path} (Ctrl-C stops)\n"
    assert stat.S_ISSOCK(path.stat().st_mode)
    with to_unix(path) as client, to_unix(path) as other:
        status, body = asked(client, "/v1/predict", "POST", photo)
        assert (status, len(json.loads(body)["results"])) == (200, 1)
        assert asked(other, "/nowhere")[0] == 404
        other.sendall(b"this is not HTTP\r\n\r\n")
        assert b" 400 " in other.recv(65536)
        client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert b" 200 " in client.recv(65536)
    assert server.stop() == 0
    assert not path.exists()


@pytest.mark.slow
def test_the_socket_of_a_killed_server_is_replaced_and_that_of_a_living_one_is_not(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    server = run("--host", f"unix:{path}")
    with pytest.raises(ConfigError, match=r"received Address already in use; .*socket must be a new file"):
        listen(ServerSettings(host=f"unix:{path}"))
    with to_unix(path) as client:
        assert asked(client)[0] == 200
    assert server.stop() == 0


@pytest.mark.slow
def test_an_idle_connection_is_kept_as_long_as_the_setting_says(run: Run) -> None:
    server = run("--keepalive-seconds", "1")
    port = int(server.line.split(":")[3].split("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        assert asked(client)[0] == 200
        assert asked(client)[0] == 200
        begun = time.monotonic()
        assert client.recv(1) == b""
        assert 0.9 < time.monotonic() - begun < 10


def test_a_load_balancer_closes_an_idle_connection_first() -> None:
    assert ServerSettings().keepalive_seconds > 60


@pytest.mark.parametrize("name", ["a file", "no/such/directory", "x" * 200])
def test_a_path_that_cannot_be_a_socket_is_refused_in_words(tmp_path: Path, name: str) -> None:
    (tmp_path / "a file").write_text("kept")
    with pytest.raises(ConfigError, match=r"expected a free address to listen on, received .+; .+--host"):
        listen(ServerSettings(host=f"unix:{tmp_path / name}"))
    assert (tmp_path / "a file").read_text() == "kept"


def test_an_admin_port_beside_a_unix_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="admin_port: expected 0 with a Unix socket, received 9000"):
        listen(ServerSettings(host=f"unix:{tmp_path / 'socket'}", admin_port=9000))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("host", "expected"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("127.0.0.1", "127.0.0.1")],  # noqa: S104
)
def test_the_invitation_is_an_address_for_a_browser(host: str, expected: str) -> None:
    settings = ServerSettings(host=host, port=0)
    listener, admin = listen(settings)
    with listener:
        assert admin is None
        assert invitation(settings, listener) == f"open http://{expected}:{listener.getsockname()[1]}/"
