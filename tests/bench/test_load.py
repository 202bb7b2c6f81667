"""The load generator against a server that refuses and hangs up by count."""

import socket
from typing import TYPE_CHECKING

from bench.http import level_row
from bench.load import ATTEMPTS_PER_ANSWER, Level, prepared_request, run_level

if TYPE_CHECKING:
    from tests.bench.conftest import CountingServer

BODIES = [b"first" * 9000, b"second", b"third"]


def requests() -> list[bytes]:
    return [prepared_request("/v1/predict", body) for body in BODIES]


def test_every_request_arrives_whole_and_every_answer_is_counted(counting_server: "CountingServer") -> None:
    level = run_level(counting_server.server_port, requests(), clients=4, answers=40)

    sent = len(counting_server.bodies)
    assert sum(level.statuses.values()) == sent
    assert level.statuses == {"200": sent - sent // 3, "503": sent // 3}
    assert len(level.latencies_ms) == level.statuses["200"] >= 40
    assert set(counting_server.bodies) == set(BODIES)
    assert level.seconds > 0
    assert level.cpu_seconds > 0


def test_connections_are_kept_until_the_server_closes_them(counting_server: "CountingServer") -> None:
    run_level(counting_server.server_port, requests(), clients=1, answers=20)

    sent = len(counting_server.bodies)
    assert counting_server.connections == 1 + (sent - 1) // 5


def test_a_server_that_is_not_there_is_errors_and_an_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    level = run_level(port, requests(), clients=2, answers=1)

    assert level.latencies_ms == []
    assert set(level.statuses) == {"error"}
    assert level.statuses["error"] <= ATTEMPTS_PER_ANSWER + 1


def test_a_level_becomes_a_row_with_its_rate_and_percentiles() -> None:
    latencies = [float(value) for value in range(1, 101)]
    level = Level(
        clients=4, seconds=2.0, latencies_ms=latencies, statuses={"200": 100, "503": 7, "error": 1}, cpu_seconds=0.054
    )

    row = level_row("ours", level)

    assert (row.value, row.unit, row.runs) == (50.0, "images/s", 100)
    assert row.figures == {
        "p50 ms": 50.0, "p95 ms": 95.0, "p99 ms": 99.0, "503s": 7, "other errors": 1, "client CPU ms a request": 0.5,
    }  # fmt: skip


def test_a_level_without_a_good_answer_has_no_rate() -> None:
    level = Level(clients=1, seconds=0.0, latencies_ms=[], statuses={"error": 4}, cpu_seconds=0.1)

    assert level_row("ours", level).value is None
