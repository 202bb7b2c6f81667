"""Measures the server under load, against the same captioner behind other servers and against the engine alone.

The preset `small` with random weights, where all that is around the engine counts, and the default bundle. One JPEG of
500x375 a request, keep-alive clients in one other process on the same cores. Every other server is asked first whether
it answers what ours answers.
"""

import http.client
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench import process
from bench.apart import absent
from bench.artifacts import prepared
from bench.asked import ASKED, OURS
from bench.load import HOST, PHOTOS, TIMEOUT_SECONDS, Level
from bench.machine import cores
from bench.photos import photo
from bench.plain_flask import CAPTIONS
from bench.report import Row, compared, compared_in_rounds, middle, percentile, ratio_text, skipped_row
from bench.servers import Running, bento_server, lit_server, our_server, plain_server
from bench.sizes import Size

PART = "http"
SIZES: tuple[Size, ...] = ("small", "default bundle")
CLIENTS = (1, 4, 16, 64)
ANSWERS: Mapping[Size, int] = MappingProxyType({"small": 300, "default bundle": 100})
WARM_UP = 50
ROUNDS = 3
"""How often every server is started and loaded; they take turns."""
SOAK_CLIENTS = 4
SOAK = (500, 5500)
"""Answers after which the worker's memory is read."""
ALONE_IMAGES = 400
CACHE_CLIENTS = (1, 16)
CACHE_ANSWERS = 1000
CHECKED = 4
"""Photos whose answers are compared."""

MIB = "MiB"

Answers = list[tuple[list[str], str]]
"""Captions and the first class of each photo."""

Start = Callable[[Path], AbstractContextManager[Running]]


@dataclass(frozen=True, slots=True)
class Peer:
    """Another server around the same captioner.

    Attributes:
        what: Name in the report.
        start: Starts it with a bundle.
        modules: Libraries that it needs and that the project does not install.
    """

    what: str
    start: Start
    modules: tuple[str, ...] = ()


PEERS = (
    Peer("Flask, sync worker", lambda bundle: plain_server(bundle, ())),
    Peer("Flask, a sync worker on each core", lambda bundle: plain_server(bundle, ("--workers", str(cores())), 1)),
    Peer("LitServe, a worker on each core", lambda bundle: lit_server(bundle, cores(), 1), ("litserve",)),
    Peer("BentoML, a worker on each core", lambda bundle: bento_server(bundle, cores(), 1), ("bentoml",)),
)


@dataclass(frozen=True, slots=True)
class Load:
    """What one start of a server gave.

    Attributes:
        levels: A row for each number of clients.
        ready: The row of its start.
        memory: The row of the memory of all its processes after the load.
    """

    levels: dict[int, Row]
    ready: Row
    memory: Row


def measure(sizes: Sequence[Size] = SIZES) -> list[Row]:
    """Measures the servers at some of the sizes, and our server's memory over thousands of requests."""
    rows = [row for size in sizes if size in SIZES for row in _size_rows(size)]
    return rows + (_soak_rows(prepared("bundle", "small")) if "small" in sizes else [])


def _size_rows(size: Size) -> list[Row]:
    bundle = prepared("bundle", size)
    rows = _alone_rows(size, bundle)
    present = [peer for peer in PEERS if absent(peer.modules) is None]
    with our_server(bundle) as running:
        expected = answers(running)
    starts: dict[str, Start] = {OURS: our_server} | {peer.what: peer.start for peer in present}
    found: dict[str, list[Load]] = {what: [] for what in starts}
    for _ in range(ROUNDS):
        for what, start in starts.items():
            found[what].append(_load(size, what, start(bundle), expected))
    for clients in CLIENTS:
        levels = {what: [load.levels[clients] for load in loads] for what, loads in found.items()}
        rows += [_against(levels, rows[0]), *(middle(levels[peer.what]) for peer in present)]
    for loads in found.values():
        rows += [replace(middle([load.ready for load in loads]), runs=ROUNDS), middle([load.memory for load in loads])]
    reasons = {peer.what: absent(peer.modules) for peer in PEERS}
    rows += _cache_rows(size, bundle)
    return rows + [skipped_row(PART, f"{size}: {what}", why) for what, why in reasons.items() if why is not None]


def _cache_rows(size: Size, bundle: Path) -> list[Row]:
    """Measures photos that are sent again to a server with an answer cache, against one without."""
    levels: dict[str, list[Row]] = {}
    for what, options in {"no cache": (), "every answer cached": ("--cache-megabytes", "1")}.items():
        with our_server(bundle, *options) as running:
            loads = [_loaded(running, clients, CACHE_ANSWERS, WARM_UP) for clients in CACHE_CLIENTS]
        levels[what] = [level_row(what, load, prefix=f"{size}: the same photos, ") for load in loads]
    plain, kept = levels.values()
    return [*plain, *(replace(compared(hit, row), against="no cache") for hit, row in zip(kept, plain, strict=True))]


def _load(size: Size, what: str, server: AbstractContextManager[Running], expected: Answers) -> Load:
    """Starts a server, checks its answers, loads it, and stops it."""
    with server as running:
        if (told := answers(running)) != expected:
            raise ValueError(f"{what}: expected the answers of our server, {expected}, received {told}; mend it first")
        levels = {clients: _loaded(running, clients, ANSWERS[size], WARM_UP) for clients in CLIENTS}
        memory = process.family_memory_mib(running.master)
    return Load(
        {clients: level_row(what, level, prefix=f"{size}: ") for clients, level in levels.items()},
        Row(PART, f"{size}: ready, {what}", round(1000 * running.ready_seconds, 1), 1, remark="start to first 200"),
        Row(PART, f"{size}: memory after the load, {what}", memory, 1, MIB, remark="all its processes, shared once"),
    )


def answers(running: Running) -> Answers:
    """Returns the captions and the first class that a server gives for a few photos."""
    found = []
    for seed in range(CHECKED):
        headers, body = ASKED[running.sent].sent(photo(seed))
        connection = http.client.HTTPConnection(HOST, running.port, timeout=TIMEOUT_SECONDS)
        with closing(connection):
            connection.request("POST", running.path, body, headers)
            told = json.loads(connection.getresponse().read())
        (told,) = told.get("results", [told])  # ours answers with a list
        found.append(([caption["text"] for caption in told["captions"]], told["classes"][0]["label"]))
    return found


def level_row(server: str, level: Level, part: str = PART, prefix: str = "") -> Row:
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
    what = f"{prefix}{level.clients} client{'s' * (level.clients > 1)}: {server}"
    return Row(part, what, rate, good, "images/s", figures=figures)


def _against(levels: dict[str, list[Row]], alone: Row) -> Row:
    """Compares our server with the fastest of the others, and says how it compares with each and the engine alone."""
    ours = levels[OURS]
    others = {what: rows for what, rows in levels.items() if what != OURS}
    told = [replace(compared_in_rounds(ours, rows), against=what) for what, rows in others.items()]
    fastest = max(others.values(), key=lambda rows: middle(rows).value or 0.0)
    engine = replace(compared(middle(ours), alone), against=alone.what)
    return replace(compared_in_rounds(ours, fastest), remark=", ".join(ratio_text(row) for row in [*told, engine]))


def _loaded(running: Running, clients: int, wanted: int, warm_up: int) -> Level:
    return Level(**process.run_json("bench.load", running.port, running.path, clients, wanted, warm_up, running.sent))


def _soak_rows(bundle: Path) -> list[Row]:
    """Measures whether the worker's memory grows over thousands of requests."""
    rows: list[Row] = []
    with our_server(bundle) as running:
        done = 0
        for wanted in SOAK:
            level = _loaded(running, SOAK_CLIENTS, wanted - done, 0)
            done += level.statuses.get("200", 0)
            memory = running.worker_memory_mib()
            rows.append(
                Row(
                    PART,
                    f"worker's memory after {wanted} images",
                    memory["now"],
                    done,
                    MIB,
                    figures={"peak": memory["peak"]},
                )
            )
    return [rows[0], compared(rows[1], rows[0])]


def _alone_rows(size: Size, bundle: Path) -> list[Row]:
    """Measures the engine in a loop in one process: the most that a server of one process could reach."""
    found = process.run_json("bench.http", bundle)
    told = {"read and predict": f"one process, engine {found['engine']}", "predict": "images decoded before"}
    return [
        Row(
            PART,
            f"{size}: engine alone, {name}",
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
