"""A real server with several replicas: everything that works with one works with them."""

import base64
import concurrent.futures
import contextlib
import http.client
import json
import signal
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.server.running import Running, Start, picture

pytestmark = pytest.mark.slow


def streamed(server: Running) -> bytes:
    """Returns the answer of a protocol that streams words."""
    asked = {"model": "any", "prompt": "What is this?", "images": [base64.b64encode(picture()).decode()]}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", "/api/generate", json.dumps(asked), {"Content-Type": "application/json"})
        return connection.getresponse().read()


def test_captions_explanations_streams_reload_and_a_stop(start: Start, toy_bundle: Path) -> None:
    server = start(toy_bundle, "--replicas", "2", "--drain-seconds", "1")
    assert server.ask("GET", "/readyz")[0] == 200
    assert "showtell_replicas 2.0" in server.ask("GET", "/metrics")[1]
    paths = ["/v1/predict", "/v1/predict?explain=values", "/v1/predict?beam_size=1&captions=1"] * 8
    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda path: server.ask("POST", path, picture()), paths))
    assert {status for status, _, _ in answers} == {200}
    assert len({json.dumps(body["results"][0]["captions"]) for _, body, _ in answers[::3]}) == 1
    assert all(body["results"][0]["captions"][0]["words"][0]["map"] for _, body, _ in answers[1::3])
    assert json.loads(streamed(server).splitlines()[-1])["done"] is True
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: 'showtell_reloads_total{result="done"} 1.0' in server.ask("GET", "/metrics")[1])
    assert server.ask("POST", "/v1/predict", picture())[0] == 200
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.ask("GET", "/readyz")[0] == 503)
    assert server.ask("POST", "/v1/predict", picture())[0] == 200
    assert server.process.wait(30) == 0


def test_more_than_can_wait_is_refused_and_all_else_is_answered(start: Start, toy_bundle: Path) -> None:
    server = start(toy_bundle, "--replicas", "3", "--max-waiting", "2", "--max-batch", "1", "--drain-seconds", "0")
    with concurrent.futures.ThreadPoolExecutor(40) as clients:
        statuses = list(clients.map(lambda _: server.ask("POST", "/v1/predict?beam_size=10", picture())[0], range(80)))
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 3


def test_the_number_is_measured_at_the_start(start: Start, toy_bundle: Path) -> None:
    server = start(toy_bundle, "--replicas", "auto", "--drain-seconds", "0")
    assert server.ask("POST", "/v1/predict", picture())[0] == 200
    assert '"message": "replicas: 1 x ' in server.log.read_text()
    assert any(f"showtell_replicas {count}.0" in server.ask("GET", "/metrics")[1] for count in range(1, 65))
