"""Slow clients, a stop that drops nothing, and a bundle that is exchanged while it serves, with a real gunicorn."""

import contextlib
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from model.bundle import DEFAULT_BUNDLE, Bundle, save_bundle
from tests.conftest import wait_until
from tests.server.siege import haste

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
REQUEST_SECONDS = 4.0


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "skyblue").save(buffer, "JPEG")
    return buffer.getvalue()


class Running:
    """A server process that answers."""

    def __init__(self, bundle: Path, log: Path, *options: str) -> None:
        command = [sys.executable, "-m", "server.cli", "--port", "0", "--bundle", str(bundle), *options]
        self.log = log
        with log.open("w") as errors:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("Ready: open "), log.read_text()
        self.port = urllib.parse.urlsplit(line.split()[2]).port or 0

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any, float]:
        """Returns status, parsed body and seconds."""
        begun = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            answer = connection.getresponse()
            content = answer.read()
        return answer.status, json.loads(content) if path != "/metrics" else content.decode(), time.monotonic() - begun

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def version(self) -> str:
        return str(self.ask("GET", "/v1/model")[1]["version"])


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Returns a function from a bundle and flags to a running server; none outlives the test."""
    started: list[Running] = []

    def begin(bundle: Path, *options: str) -> Running:
        started.append(Running(bundle, tmp_path / f"log-{len(started)}.txt", *options))
        return started[-1]

    yield begin
    for server in started:
        with server.process as process:
            process.kill()


def test_ten_slow_clients_delay_nobody_and_get_408(start: Start, toy_bundle: Path) -> None:
    server = start(toy_bundle, "--request-seconds", str(REQUEST_SECONDS), "--drain-seconds", "0")
    head = b"POST /v1/predict HTTP/1.1\r\nHost: here\r\nContent-Length: 5000\r\n\r\n"
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(server.connect()) for _ in range(10)]
        for index, client in enumerate(slow):
            client.sendall(head if index % 2 else head[:20])
        seconds = []
        for _ in range(3):
            for client in slow:
                client.sendall(b"x")
            seconds += [server.ask("GET", "/livez")[2], server.ask("POST", "/v1/predict", picture())[2]]
        assert max(seconds) < haste()
        for client in slow:
            answer = b"".join(iter(lambda client=client: client.recv(65536), b""))  # type: ignore[misc]
            assert answer.startswith(b"HTTP/1.1 408 "), answer
            problem = json.loads(answer.partition(b"\r\n\r\n")[2])
            assert (problem["status"], problem["type"]) == (408, "/problems/slow-client")


def test_clients_that_say_nothing_take_no_thread(start: Start, toy_bundle: Path) -> None:
    server = start(toy_bundle, "--threads", "2", "--drain-seconds", "0")
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(server.connect())
        status, _, seconds = server.ask("POST", "/v1/predict", picture())
        assert status == 200
        assert seconds < haste()


def test_more_than_can_wait_is_refused_at_once_and_delays_no_probe(start: Start) -> None:
    server = start(DEFAULT_BUNDLE, "--max-waiting", "6", "--max-batch", "2", "--drain-seconds", "0")
    together = threading.Barrier(61)
    statuses = list[int]()
    seconds = list[float]()

    def ask() -> None:
        together.wait(30)
        statuses.append(server.ask("POST", "/v1/predict?beam_size=10", picture())[0])

    clients = [threading.Thread(target=ask) for _ in range(60)]
    for client in clients:
        client.start()
    together.wait(30)
    while any(client.is_alive() for client in clients):
        seconds.append(server.ask("GET", "/livez")[2])
    assert {200, 503} == set(statuses)
    assert len(statuses) == 60
    assert max(seconds) < 3


def test_after_sigterm_it_is_not_ready_serves_on_and_ends_with_0(start: Start, toy_bundle: Path) -> None:
    server = start(toy_bundle, "--drain-seconds", "2")
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.ask("GET", "/readyz")[0] == 503)
    assert server.ask("GET", "/readyz")[1]["detail"].startswith("the server is shutting down")
    assert server.ask("POST", "/v1/predict", picture())[0] == 200
    assert server.ask("GET", "/livez")[0] == 200
    assert server.process.wait(30) == 0


def test_a_restart_behind_a_proxy_drops_nothing(start: Start, toy_bundle: Path) -> None:
    """A client that asks whichever server is ready, as a proxy would, while one of two is exchanged."""
    servers = [start(toy_bundle, "--drain-seconds", "1.5") for _ in range(2)]
    statuses: list[int] = []
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            for server in list(servers):
                try:
                    is_ready = server.ask("GET", "/readyz")[0] == 200
                except ConnectionRefusedError:
                    continue
                if is_ready:
                    statuses.append(server.ask("POST", "/v1/predict", picture())[0])

    clients = [threading.Thread(target=load) for _ in range(4)]
    for client in clients:
        client.start()
    old = servers[0]
    try:
        old.process.send_signal(signal.SIGTERM)
        assert old.process.wait(30) == 0
        servers[0] = start(toy_bundle)
    finally:
        done.set()
    for client in clients:
        client.join()
    assert len(statuses) > 20
    assert set(statuses) == {200}


def kill_worker(server: Running) -> None:
    """Kills the worker and waits until another one is ready."""
    os.kill(children(server.process.pid)[0], signal.SIGKILL)

    def is_ready() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return server.ask("GET", "/readyz")[0] == 200
        return False

    wait_until(is_ready)


def test_a_worker_that_is_killed_is_replaced_by_one_that_is_ready(start: Start, toy_bundle: Path) -> None:
    server = start(toy_bundle, "--drain-seconds", "0")
    kill_worker(server)
    assert server.ask("POST", "/v1/predict", picture())[0] == 200


def test_keys_hold_for_the_next_worker_though_their_file_is_gone(
    start: Start, toy_bundle: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-22-characters")
    server = start(toy_bundle, "--api-key-file", str(keys), "--drain-seconds", "0")
    keys.unlink()
    kill_worker(server)
    assert server.ask("POST", "/v1/predict", picture())[0] == 401


@pytest.fixture
def bundle(toy: Bundle, toy_bundle: Path, tmp_path: Path) -> Path:
    """Returns a path behind which the bundle can be exchanged, a symbolic link."""
    from training.shipping.convert import convert

    path = tmp_path / "current"
    path.symlink_to(toy_bundle)
    save_bundle(tmp_path / "second", replace(toy, config=replace(toy.config, version="2")), convert(toy).files)
    return path


def exchange(link: Path, target: Path) -> None:
    link.with_suffix(".new").symlink_to(target)
    link.with_suffix(".new").rename(link)


def test_another_bundle_at_the_path_is_loaded_and_a_damaged_one_is_refused(
    start: Start, bundle: Path, tmp_path: Path
) -> None:
    server = start(bundle, "--drain-seconds", "0")
    assert server.version() == "1"
    exchange(bundle, tmp_path / "second")
    wait_until(lambda: server.version() == "2")
    shutil.copytree(tmp_path / "second", tmp_path / "third")
    (tmp_path / "third" / "classes.json").write_text("[]")
    exchange(bundle, tmp_path / "third")
    wait_until(lambda: 'showtell_reloads_total{result="refused"} 1.0' in server.ask("GET", "/metrics")[1])
    assert "the new bundle is refused" in server.log.read_text()
    assert (server.version(), server.ask("GET", "/readyz")[0]) == ("2", 200)
    assert server.ask("POST", "/v1/predict", picture())[0] == 200


def test_another_bundle_forgets_the_answers_of_the_one_before(start: Start, bundle: Path, tmp_path: Path) -> None:
    server = start(bundle, "--cache-megabytes", "1", "--drain-seconds", "0")
    for version in ("1", "2"):
        wait_until(lambda version=version: server.version() == version)  # type: ignore[misc]
        for _ in range(3):
            assert server.ask("POST", "/v1/predict", picture())[0] == 200
        exchange(bundle, tmp_path / "second")
    metrics = server.ask("GET", "/metrics")[1]
    assert 'showtell_cache_lookups_total{result="miss"} 2.0' in metrics
    assert 'showtell_cache_lookups_total{result="hit"} 4.0' in metrics


def test_sighup_loads_the_bundle_again_while_requests_are_served(start: Start, toy_bundle: Path) -> None:
    server = start(toy_bundle, "--drain-seconds", "0")
    server.process.send_signal(signal.SIGHUP)
    answered = []

    def is_reloaded() -> bool:
        answered.append(server.ask("POST", "/v1/predict", picture())[0])
        return 'showtell_reloads_total{result="done"} 1.0' in server.ask("GET", "/metrics")[1]

    wait_until(is_reloaded)
    assert set(answered) == {200}


def test_sighup_while_the_worker_boots_does_not_end_it(toy_bundle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "server.cli", "--port", "0", "--bundle", str(toy_bundle), "--drain-seconds", "0"]
    log = tmp_path / "log.txt"
    with (
        log.open("w") as errors,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            wait_until(lambda: bool(children(process.pid)))
            (worker,) = children(process.pid)
            is_ready = threading.Event()
            hanging_up = threading.Thread(target=hang_up, args=(worker, is_ready))
            hanging_up.start()
            assert process.stdout is not None
            line = process.stdout.readline()
            is_ready.set()
            hanging_up.join()
            assert line.startswith("Ready: open "), log.read_text()
            assert children(process.pid) == [worker]
        finally:
            process.kill()


def children(process_id: int) -> list[int]:
    """Returns the processes that a process has started and that run."""
    return list(map(int, Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()))


def hang_up(process_id: int, end: threading.Event) -> None:
    """Sends SIGHUP again and again, until the end or for 30 seconds."""
    until = time.monotonic() + 30
    while not end.wait(0.002) and time.monotonic() < until:
        os.kill(process_id, signal.SIGHUP)
