"""Clients that mean no good, against a real server: nobody else may notice."""

import contextlib
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.receiving import LARGE_BODIES_AT_ONCE
from tests.conftest import wait_until
from tests.server.siege import (
    PREDICT,
    PROBES,
    ROOT,
    Fortress,
    allow_many_files,
    free_port,
    photo,
    push,
    watching,
)

pytestmark = pytest.mark.slow

PAGE = b"GET /docs HTTP/1.1\r\nHost: here\r\n\r\n"
Clients = list[socket.socket]
Start = Callable[..., Fortress]


@pytest.fixture(scope="module")
def fortress(toy_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    """Yields a server with the default limits."""
    allow_many_files()
    server = Fortress(toy_bundle, tmp_path_factory.mktemp("siege") / "log.txt")
    yield server
    server.close()


@pytest.fixture
def start(toy_bundle: Path, tmp_path: Path) -> Iterator[Start]:
    """Returns a function from flags to a server; none outlives the test."""
    started: list[Fortress] = []

    def begin(*options: str, **others: int) -> Fortress:
        started.append(Fortress(toy_bundle, tmp_path / f"log-{len(started)}.txt", *options, **others))
        return started[-1]

    yield begin
    for server in started:
        server.close()


@contextlib.contextmanager
def crowd(server: Fortress, size: int, says: bytes = b"") -> Iterator[Clients]:
    """Yields clients that have said something each, as much of it as the server takes."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect(4096)) for _ in range(size)]
        for client in clients:
            push(client, says)
        yield clients


CROWDS = {
    "pipelined pages, never read": (100, 2000 * PAGE),
    "pipelined metrics, never read": (100, 5000 * b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"),
    "pipelined refusals, never read": (
        100,
        5000 * b"POST /v1/model HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n",
    ),
    "half a head": (100, b"GET /livez HTTP/1.1\r\nHo"),
    "half a second head": (100, b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\nGET /livez HTTP/1.1\r\nHo"),
    "a probe with half a body": (100, b"GET /livez HTTP/1.1\r\nHost: here\r\nContent-Length: 60000\r\n\r\nhello"),
    "a body that nobody reads": (100, b"POST /livez HTTP/1.1\r\nHost: here\r\nContent-Length: 60000\r\n\r\nhello"),
    "no goodbye": (150, b"GET /livez HTTP/1.0\r\n\r\n"),
    "nothing at all": (1000, b""),
}


@pytest.mark.parametrize("name", CROWDS)
def test_a_crowd_delays_neither_probes_nor_photos(fortress: Fortress, name: str) -> None:
    size, says = CROWDS[name]
    with crowd(fortress, size, says), watching(fortress, 3) as watch:
        pass
    # Nobody but those who ask for metrics is kept waiting by others who do.
    watch.assert_probes_in_time(PROBES[:2] if "metrics" in name else PROBES)
    watch.assert_photos_in_time()


def test_clients_with_a_byte_now_and_then_delay_neither_probes_nor_photos(fortress: Fortress) -> None:
    with crowd(fortress, 200, b"GET /") as clients, watching(fortress, 0) as watch:
        for _ in range(6):
            for client in clients:
                push(client, b"a")
            watch.done.wait(0.5)
    watch.assert_probes_in_time()
    watch.assert_photos_in_time()


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5000\r\n\r\nhello",
        b"Content-Length: 5000000\r\n\r\nhello",
        b"Expect: 100-continue\r\nContent-Length: 5000\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\nSome: trailer\r\n",
    ],
)
def test_slow_bodies_and_those_who_wait_for_them_delay_neither_probes_nor_photos(
    fortress: Fortress, body: bytes
) -> None:
    with (
        crowd(fortress, LARGE_BODIES_AT_ONCE, PREDICT + body),
        crowd(fortress, 80, PREDICT + body),
        watching(fortress, 2.5) as watch,
    ):
        pass
    watch.assert_probes_in_time()
    watch.assert_photos_in_time()


def test_bodies_in_very_small_chunks_are_refused_before_they_cost_much(fortress: Fortress) -> None:
    head = PREDICT + b"Transfer-Encoding: chunked\r\n\r\n"
    with crowd(fortress, 24, head) as clients, watching(fortress, 0, photos_a_second=0) as watch:
        for client in clients:
            client.settimeout(30)
            with contextlib.suppress(ConnectionError):
                client.sendall(100_000 * b"1\r\nx\r\n")
        answers = [client.recv(65536) for client in clients]
    assert all(b" 400 " in answer.partition(b"\r\n")[0] for answer in answers)
    watch.assert_probes_in_time()


def test_probes_on_a_port_of_their_own_are_answered_in_any_crowd(start: Start) -> None:
    port = free_port()
    server = start("--admin-port", str(port), "--max-connections", "60", "--max-connections-per-address", "60")
    with crowd(server, 100, 2000 * PAGE), watching(server, 3, photos_a_second=0, port=port) as watch:
        pass
    watch.assert_probes_in_time()
    for path in ("/", "/docs", "/v1/model", "/static/main.js"):
        status, body, _ = server.ask("GET", path, port=port)
        assert (status, json.loads(body)["status"]) == (404, 404)
    assert server.ask("POST", "/v1/predict", photo(), port=port)[0] == 404


def test_the_probes_port_asks_for_the_same_keys(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOWTELL_API_KEY", "a-key-of-22-characters")
    port = free_port()
    server = start("--admin-port", str(port))
    assert [server.ask("GET", path, port=port)[0] for path in PROBES] == [200, 200, 401]


def is_closed(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_the_oldest_idle_connections_make_room(start: Start) -> None:
    server = start("--max-connections", "40", "--max-connections-per-address", "20")
    with crowd(server, 60) as clients:
        assert server.ask("GET", "/v1/model")[0] == 200
        wait_until(lambda: sum(map(is_closed, clients)) >= 40)
        assert not any(map(is_closed, clients[-19:])), "expected the newest ones to stay"
        assert b'showtell_connections_cut_total{reason="evicted"}' in server.ask("GET", "/metrics")[1]


def test_with_few_descriptors_photos_are_answered_and_a_worker_can_be_replaced(start: Start) -> None:
    server = start(files=64)
    with crowd(server, 100), crowd(server, 8, PREDICT + b"Content-Length: 5000\r\n\r\n"), watching(server, 2) as watch:
        pass
    watch.assert_photos_in_time(3)
    with crowd(server, 100), contextlib.ExitStack() as stack:
        os.kill(server.worker(), signal.SIGKILL)

        def is_ready() -> bool:
            with contextlib.suppress(OSError):
                stack.enter_context(server.connect())
                return server.ask("GET", "/readyz")[0] == 200
            return False

        wait_until(is_ready)
        assert server.process.poll() is None
    assert server.ask("POST", "/v1/predict", photo())[0] == 200


def test_too_few_descriptors_are_one_clear_line(toy_bundle: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with pytest.raises(AssertionError):
        Fortress(toy_bundle, log, files=40)
    assert log.read_text().startswith("Error: expected 56 open files or more, allowed are 40; ")
    assert log.read_text().count("\n") == 1


def test_who_had_to_wait_for_a_place_has_all_the_time_for_its_body(start: Start) -> None:
    server = start("--request-seconds", "4")
    picture = photo().ljust(8 * 1024**2, b"\0")
    head = PREDICT + b"Content-Length: %d\r\n\r\n" % len(picture)
    with (
        crowd(server, LARGE_BODIES_AT_ONCE, PREDICT + b"Content-Length: 10485760\r\n\r\nhello"),
        server.connect() as client,
    ):
        wait_until(lambda: not server.is_busy())
        client.sendall(head + picture[:1000])
        # Longer than a request may take to arrive, but not longer than it may take once there is a place.
        threading.Event().wait(5)
        client.sendall(picture[1000:])
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 "), answer


def test_five_clients_that_never_read_do_not_hold_up_the_end(start: Start) -> None:
    server = start()
    with crowd(server, 5, 2000 * PAGE):
        wait_until(lambda: not server.is_busy())
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("full", ["/dev/full", "a closed pipe"])
def test_what_cannot_be_logged_is_counted_and_fails_nothing(toy_bundle: Path, full: str) -> None:
    if full == "/dev/full":
        errors = open(full, "w")  # noqa: SIM115, PTH123 - handed to the server
    else:
        reading, writing = os.pipe()
        os.close(reading)
        errors = open(writing, "w")  # noqa: SIM115, PTH123 - handed to the server
    with errors, contextlib.closing(Fortress(toy_bundle, errors)) as server:
        for _ in range(3):
            assert server.ask("POST", "/v1/predict", photo())[0] == 200
        (line,) = [
            line for line in server.ask("GET", "/metrics")[1].splitlines() if line.startswith(b"showtell_log_lines")
        ]
        assert float(line.split()[1]) >= 3
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0


def test_nobody_need_read_the_log(toy_bundle: Path) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb"), open(writing, "w") as errors:  # noqa: PTH123 - descriptors
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        with contextlib.closing(Fortress(toy_bundle, errors)) as server:
            for _ in range(30):
                assert server.ask("GET", "/livez")[0] == 200
                assert server.say(b"this is no HTTP\r\n\r\n").startswith(b"HTTP/1.1 400 ")
            assert server.ask("POST", "/v1/predict", photo())[0] == 200


def test_nobody_need_read_that_it_is_ready(toy_bundle: Path, tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "log.txt"
    command = [sys.executable, "-m", "server.cli", "--port", str(port), "--bundle", str(toy_bundle)]
    with log.open("w") as errors, Path("/dev/full").open("w") as full:
        process = subprocess.Popen([*command, "--drain-seconds", "0"], cwd=ROOT, stdout=full, stderr=errors)

    def is_ready() -> bool:
        with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as client:
            client.request("GET", "/readyz")
            return client.getresponse().status == 200
        return False

    with process:
        wait_until(is_ready)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert "Traceback" not in log.read_text()
