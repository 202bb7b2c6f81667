"""Measures replicas against threads on this machine, and computes from measured parts what other machines would do.

The default bundle. Of one photo these parts are measured: its captioning by one thread and by all, its search, which is
Python, its decoding, and its way through the server. What they give together is arithmetic: see `simulated`.
"""

import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from bench import process
from bench.http import level_row
from bench.load import PHOTOS, Level
from bench.machine import cores
from bench.photos import photo
from bench.report import Row, compared
from bench.servers import Running, our_server
from model.bundle import DEFAULT_BUNDLE, BundleInfo
from model.captioner import Captioner
from model.engines.lite import LiteEngine
from model.image import read_image
from server.replicas import Plan, plans

PART = "cores"
ANSWERS = {1: 50, 16: 200}
"""Answers by the number of clients."""
BUSY_CLIENTS = 16
WARM_UP = 16
ROUNDS = 3
PASSES = 3
SIMULATED_CORES = (2, 8, 64)
CACHE = ("--cache-megabytes", "16")
CACHED_ANSWERS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The time of one photo, in seconds.

    Attributes:
        one: Its captioning by the engine with one thread.
        threads: A number of threads, two or more.
        many: The same with so many threads.
        python: What the search does in Python, while no other Python runs.
        decoding: Its decoding, in another process.
        serving: Its way through the server, in Python, without decoding and captioning.
    """

    one: float
    threads: int
    many: float
    python: float
    decoding: float
    serving: float

    def captioning(self, threads: int) -> float:
        """Returns the engine's time with a number of threads, by Amdahl's law through the two that were measured."""
        shared = (self.one - self.many) / (1 - 1 / self.threads)
        return self.one - shared + shared / threads


def simulated(parts: Parts, plan: Plan) -> float:
    """Returns the photos per second of a plan.

    Two limits count. The cores: a replica holds all of its own while it captions, and while its search is in Python;
    decoding and serving need one for their time. And Python, which runs one thread of a process at a time. Memory is
    taken to be fast enough.
    """
    held = plan.threads * (parts.captioning(plan.threads) + parts.python)
    by_cores = plan.replicas * plan.threads / (held + parts.decoding + parts.serving)
    return min(by_cores, 1 / (parts.python + parts.serving))


def measure() -> list[Row]:
    """Measures one replica against one for each core, the parts, and computes the rest."""
    return [*_server_rows(), *_part_rows(_parts())]


def _server_rows() -> list[Row]:
    """Measures servers with one replica and with one on each core, which take turns."""
    counts = (1, cores())
    found: dict[tuple[int, int], list[Row]] = {}
    with ExitStack() as stack:
        servers = {count: stack.enter_context(our_server(DEFAULT_BUNDLE, "--replicas", str(count))) for count in counts}
        rows = [_memory_row(count, running) for count, running in servers.items()]
        for _ in range(ROUNDS):
            for clients, answers in ANSWERS.items():
                for count, running in servers.items():
                    level = process.run_json("bench.load", running.port, running.path, clients, answers, WARM_UP)
                    row = level_row(f"{count} replicas", Level(**level), PART)
                    found.setdefault((clients, count), []).append(row)
    middle = {key: sorted(rows, key=lambda row: row.value or 0.0)[ROUNDS // 2] for key, rows in found.items()}
    for clients in ANSWERS:
        rows += [middle[clients, 1], compared(middle[clients, cores()], middle[clients, 1])]
    return rows


def _memory_row(count: int, running: Running) -> Row:
    (worker,) = running.workers()
    return Row(PART, f"worker's memory, {count} replicas", process.own_memory_mib(worker), 1, "MiB")


def _parts() -> Parts:
    with our_server(DEFAULT_BUNDLE, *CACHE) as running:
        found = process.run_json("bench.load", running.port, running.path, BUSY_CLIENTS, CACHED_ANSWERS, WARM_UP)
    level = Level(**found)
    serving = (level.seconds - level.cpu_seconds) / sum(level.statuses.values())
    return Parts(**process.run_json("bench.cores", max(2, cores())), serving=serving)


def _part_rows(parts: Parts) -> list[Row]:
    rows = [
        Row(PART, f"one photo: {name}", round(1000 * value, 3), PASSES * PHOTOS)
        for name, value in asdict(parts).items()
        if name != "threads"
    ]
    for count in SIMULATED_CORES:
        for plan in plans(count):
            what = f"computed, {count} cores: {plan.replicas} x {plan.threads} threads"
            rows.append(Row(PART, what, round(simulated(parts, plan), 1), 0, "images/s"))
    return rows


class _Clocked:
    """An engine that adds up the time that is spent in it."""

    name = "clocked"

    def __init__(self, engine: LiteEngine) -> None:
        self._engine = engine
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._engine, name)

        def call(*given: Any) -> Any:
            started = time.perf_counter()
            answer = method(*given)
            self.seconds += time.perf_counter() - started
            return answer

        return call


def _measure_parts(threads: int) -> dict[str, float]:
    one, python = _captioned(1)
    many, _ = _captioned(threads)
    decoding = []
    for seed in range(PHOTOS):
        data = photo(seed)
        started = time.perf_counter()
        read_image(data)
        decoding.append(time.perf_counter() - started)
    return {"one": one, "threads": threads, "many": many, "python": python, "decoding": min(decoding)}


def _captioned(threads: int) -> tuple[float, float]:
    """Returns the shortest time of a photo in the engine, and outside it in Python: all else that runs only adds."""
    info = BundleInfo.from_bundle(DEFAULT_BUNDLE)
    engine = _Clocked(LiteEngine.of(DEFAULT_BUNDLE, info.config, threads))
    captioner = Captioner(info.config, info.vocabulary, info.classes, engine)
    pictures = [read_image(photo(seed)).pixels[None] for seed in range(PHOTOS)]
    captioner.predict(pictures[0])
    inside = list[float]()
    outside = list[float]()
    for picture in pictures * PASSES:
        engine.seconds = 0.0
        started = time.perf_counter()
        captioner.predict(picture, captions=3)
        inside.append(engine.seconds)
        outside.append(time.perf_counter() - started - engine.seconds)
    return min(inside), min(outside)


if __name__ == "__main__":
    process.answer_json(_measure_parts(int(sys.argv[1])))
