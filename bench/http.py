"""Measures the server under load, against the same captioner behind a plain Flask route and against the engine alone.

The preset `small` with random weights, one JPEG of 500x375 a request as a raw body, keep-alive clients in one other
process on the same cores.
"""

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import process
from bench.artifacts import prepared
from bench.load import PHOTOS, Level
from bench.photos import photo
from bench.plain_flask import CAPTIONS
from bench.report import Row, compared, percentile, ratio
from bench.servers import Running, our_server, plain_server
from server.settings import ServerSettings

PART = "http"
CLIENTS = (1, 4, 16, 64)
ANSWERS = 600
WARM_UP = 50
STARTS = 3
SOAK_CLIENTS = 4
SOAK = (500, 5500)
"""Answers after which the worker's memory is read."""
ALONE_IMAGES = 400
OURS = "ours"
PLAIN = {
    "Flask, sync worker": ("--worker-class", "sync"),
    "Flask, gthread": ("--worker-class", "gthread", "--threads", str(ServerSettings().threads)),
}
"""gunicorn's options of the plain servers; as many threads as our server has by default."""

MIB = "MiB"


def measure() -> list[Row]:
    """Measures the engine alone, our server and the plain ones, and our server's memory over thousands of requests."""
    bundle = prepared("bundle", "small")
    alone = _alone_rows(bundle)
    ours, about = _measure_server(OURS, our_server(bundle))
    plain = {name: _measure_server(name, plain_server(bundle, options)) for name, options in PLAIN.items()}
    rows = list(alone)
    for index in range(len(CLIENTS)):
        others = [levels[index] for levels, _ in plain.values()]
        rows += [_against(ours[index], others, alone[0]), *others]
    rows += [_ready_row(bundle, about[0]), *about[1:]]
    rows += [row for _, (_, facts) in plain.items() for row in facts]
    return [*rows, *_soak_rows(bundle)]


def level_row(server: str, level: Level, part: str = PART) -> Row:
    """Returns the row of one number of clients."""
    tries = sum(level.statuses.values())
    good = level.statuses.get("200", 0)
    percentiles = {f"p{p} ms": round(percentile(level.latencies_ms, p), 1) for p in (50, 95, 99)} if good else {}
    figures = {
        **percentiles,
        "503s": level.statuses.get("503", 0),
        "other errors": tries - good - level.statuses.get("503", 0),
        "client CPU ms a request": round(1000 * level.cpu_seconds / tries, 3),
    }
    rate = round(good / level.seconds, 2) if good else None
    return Row(
        part, f"{level.clients} client{'s' * (level.clients > 1)}: {server}", rate, good, "images/s", figures=figures
    )


def _against(ours: Row, others: list[Row], alone: Row) -> Row:
    """Compares our server with the faster of the plain ones, and with the engine alone."""
    fastest = max(others, key=lambda row: row.value or 0.0)
    share = ratio(ours, alone)
    return replace(compared(ours, fastest), remark="" if share is None else f"{share:.2f}x of {alone.what}")


def _measure_server(name: str, server: AbstractContextManager[Running]) -> tuple[list[Row], list[Row]]:
    """Returns a row for each number of clients, and the rows of its start and its memory."""
    with server as running:
        rows = [level_row(name, _loaded(running, clients, ANSWERS, WARM_UP)) for clients in CLIENTS]
        memory = running.worker_memory_mib()
    ready = Row(PART, f"ready: {name}", round(1000 * running.ready_seconds, 1), 1)
    resident = Row(
        PART, f"worker's memory after the load: {name}", memory["now"], 1, MIB, figures={"peak": memory["peak"]}
    )
    return rows, [ready, resident]


def _loaded(running: Running, clients: int, answers: int, warm_up: int) -> Level:
    return Level(**process.run_json("bench.load", running.port, running.path, clients, answers, warm_up))


def _ready_row(bundle: Path, first: Row) -> Row:
    """Returns the median of a few starts."""
    times = [first.milliseconds]
    for _ in range(STARTS - 1):
        with our_server(bundle) as running:
            times.append(1000 * running.ready_seconds)
    return replace(first, value=round(statistics.median(times), 1), runs=len(times), remark="start to /readyz 200")


def _soak_rows(bundle: Path) -> list[Row]:
    """Measures whether the worker's memory grows over thousands of requests."""
    rows: list[Row] = []
    with our_server(bundle) as running:
        done = 0
        for answers in SOAK:
            level = _loaded(running, SOAK_CLIENTS, answers - done, 0)
            done += level.statuses.get("200", 0)
            memory = running.worker_memory_mib()
            rows.append(
                Row(
                    PART,
                    f"worker's memory after {answers} images",
                    memory["now"],
                    done,
                    MIB,
                    figures={"peak": memory["peak"]},
                )
            )
    return [rows[0], compared(rows[1], rows[0])]


def _alone_rows(bundle: Path) -> list[Row]:
    """Measures the engine in a loop in one process: the most that a server of one process could reach."""
    found = process.run_json("bench.http", bundle)
    told = {"read and predict": f"one process, engine {found['engine']}", "predict": "images decoded before"}
    return [
        Row(
            PART,
            f"engine alone, {name}",
            round(len(found[name]) / sum(found[name]), 2),
            ALONE_IMAGES,
            "images/s",
            remark=told,
        )
        for name, told in told.items()
    ]


def _run_alone(bundle: Path) -> dict[str, Any]:
    from model.captioner import Captioner
    from model.image import read_image

    captioner = Captioner.load(bundle)
    photos = [photo(seed) for seed in range(PHOTOS)]
    pixels = [read_image(data).pixels[None] for data in photos]

    def both(index: int) -> None:
        captioner.predict(read_image(photos[index]).pixels[None], captions=CAPTIONS)

    def predict(index: int) -> None:
        captioner.predict(pixels[index], captions=CAPTIONS)

    return {"engine": captioner.engine, "read and predict": _timed(both), "predict": _timed(predict)}


def _timed(work: Callable[[int], None]) -> list[float]:
    seconds = []
    for number in range(WARM_UP + ALONE_IMAGES):
        started = time.perf_counter()
        work(number % PHOTOS)
        seconds.append(time.perf_counter() - started)
    return seconds[WARM_UP:]


if __name__ == "__main__":
    process.answer_json(_run_alone(Path(sys.argv[1])))
