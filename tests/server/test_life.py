"""Slow clients, a stop that drops nothing, and workers that end, with a real gunicorn."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from model.bundle import DEFAULT_BUNDLE
from tests.conftest import wait_until
from tests.server.running import ROOT, Running, Start, children, picture
from tests.server.siege import haste

pytestmark = pytest.mark.slow

REQUEST_SECONDS = 4.0


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


def hang_up(process_id: int, end: threading.Event) -> None:
    """Sends SIGHUP again and again, until the end or for 30 seconds."""
    until = time.monotonic() + 30
    while not end.wait(0.002) and time.monotonic() < until:
        os.kill(process_id, signal.SIGHUP)
