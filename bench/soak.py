"""`python -m bench.soak`: a real server under good, bad, slow and aborted requests, for minutes or hours.

It is about promises, not speed: every request is answered as its kind deserves or with a 503 that says when to come
back, the worker lives, nothing raises, and memory stays where it is.
"""

import asyncio
import contextlib
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import matplotlib as mpl
from matplotlib.figure import Figure
from tqdm import tqdm

from bench.load import HOST
from bench.machine import machine
from bench.mixture import Kind, mixture
from bench.process import family_memory_mib
from bench.report import percentile
from bench.servers import Running, our_server
from model.atomic import atomic_file
from model.bundle import DEFAULT_BUNDLE

MOST_AT_ONCE = 200
TIMEOUT_SECONDS = 40.0
SAMPLE_SECONDS = 2.0
WARM_UP_SHARE = 0.2
END_SHARE = 0.2
GROWTH_MIB = 32.0
"""How much the memory of all processes may grow from just after the warm-up to the end, each by its median."""
TOLD = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """The resident memory of all the server's processes at one time, and its workers."""

    seconds: float
    memory_mib: float
    workers: tuple[int, ...]


@dataclass
class Record:
    """The results of a soak.

    Attributes:
        statuses: By kind, how often each status was answered; `hung up` where the client did, `error` for no answer.
        latencies_ms: By kind, from connecting to the end of the answer.
        unexpected: Answers that break a promise, in words.
        samples: Memory and workers over time.
        log: All that the server wrote.
    """

    statuses: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    latencies_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    unexpected: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    log: str = ""

    def memory_mib(self) -> tuple[float, float]:
        """Returns the median memory of the time just after the warm-up and of the end."""
        memory = [sample.memory_mib for sample in self.samples]
        count = len(self.samples)
        size = max(1, int(count * END_SHARE))
        start = int(count * WARM_UP_SHARE)
        return percentile(memory[start : start + size], 50), percentile(memory[-size:], 50)

    def broken(self) -> list[str]:
        """Returns the broken promises, in words."""
        found = [*self.unexpected]
        workers = sorted({sample.workers for sample in self.samples})
        if len(workers) != 1 or len(workers[0]) != 1:
            found.append(f"expected one worker from beginning to end, found the process ids {workers}")
        if "Traceback" in self.log:
            found.append(f"expected no traceback in the log, found:\n{self.log[self.log.index('Traceback') :][:2000]}")
        start, end = self.memory_mib()
        if end - start > GROWTH_MIB:
            found.append(f"expected memory to grow by at most {GROWTH_MIB} MiB, from {start} it grew to {end}")
        return found

    def summary(self) -> dict[str, Any]:
        """Returns the figures for JSON."""
        start, end = self.memory_mib()
        return {
            "statuses": {name: dict(counts) for name, counts in self.statuses.items()},
            "latencies_ms": {
                name: {f"p{p}": round(percentile(values, p), 1) for p in (50, 95, 99, 100)}
                for name, values in self.latencies_ms.items()
            },
            "workers": sorted({worker for sample in self.samples for worker in sample.workers}),
            "memory_mib": {"after warm-up": start, "end": end, "most": max(item.memory_mib for item in self.samples)},
            "memory_mib_by_second": [(round(item.seconds, 1), item.memory_mib) for item in self.samples],
            "broken": self.broken(),
        }


def soak(server: Running, kinds: list[Kind], seconds: float, rate: float, seed: int) -> Record:
    """Asks a server at a bounded rate.

    Args:
        server: A server that answers.
        kinds: What is asked.
        seconds: How long new requests are begun; those under way are waited for.
        rate: Draws from the kinds a second, at most; fewer where 200 requests are under way.
        seed: Decides the order.

    Returns:
        What was answered, and how the server's processes fared.
    """
    run = _Soak(server, kinds, Record())
    asyncio.run(run.run(seconds, rate, seed))
    run.record.log = server.log_text()
    return run.record


@dataclass
class _Soak:
    """The state that the tasks of one soak share."""

    server: Running
    kinds: list[Kind]
    record: Record
    under_way: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_AT_ONCE))
    started: float = field(default_factory=time.monotonic)

    async def run(self, seconds: float, rate: float, seed: int) -> None:
        order = random.Random(seed)  # noqa: S311 - an order, not a secret
        weights = [kind.weight for kind in self.kinds]
        watching = asyncio.create_task(self._watch())
        with tqdm(total=round(seconds), unit="s", disable=None) as bar:
            async with asyncio.TaskGroup() as tasks:
                number = 0
                while (elapsed := time.monotonic() - self.started) < seconds:
                    (kind,) = order.choices(self.kinds, weights)
                    for copy in range(kind.copies):
                        await self.under_way.acquire()
                        tasks.create_task(self._ask(kind, kind.requests[(number + copy) % len(kind.requests)]))
                    number += 1
                    bar.update(int(elapsed) - bar.n)
                    await asyncio.sleep(max(0.0, self.started + number / rate - time.monotonic()))
        watching.cancel()
        self._sample()

    async def _watch(self) -> None:
        while True:
            self._sample()
            await asyncio.sleep(SAMPLE_SECONDS)

    def _sample(self) -> None:
        workers = tuple(self.server.workers())
        memory = family_memory_mib(self.server.master)
        self.record.samples.append(Sample(time.monotonic() - self.started, memory, workers))

    async def _ask(self, kind: Kind, pieces: Sequence[bytes]) -> None:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = await exchange(self.server.port, kind, pieces)
            self._note(kind, answer, time.monotonic() - begun)
        except (OSError, EOFError, ValueError) as error:
            self.record.statuses[kind.name]["error"] += 1
            self.record.unexpected.append(f"{kind.name}: expected an answer, received {error!r}")
        finally:
            self.under_way.release()

    def _note(self, kind: Kind, answer: bytes, seconds: float) -> None:
        if not kind.statuses:
            self.record.statuses[kind.name]["hung up"] += 1
            return
        head = answer.partition(b"\r\n\r\n")[0]
        status = int(head.split(b" ", 2)[1])
        self.record.statuses[kind.name][str(status)] += 1
        self.record.latencies_ms[kind.name].append(1000 * seconds)
        is_deliberate = status == 503 and b"\r\nretry-after:" in head.lower()
        if status not in kind.statuses and not is_deliberate:
            expected = ", ".join(map(str, sorted(kind.statuses)))
            self.record.unexpected.append(
                f"{kind.name}: expected {expected}, received {answer[:500].decode('latin-1')}"
            )


async def exchange(port: int, kind: Kind, pieces: Sequence[bytes]) -> bytes:
    """Sends a request in pieces and returns the whole answer, or nothing where its kind hangs up instead.

    Raises:
        OSError: The server refused the connection or reset it before it had answered.
        EOFError: It closed the connection without an answer.
    """
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        await _send(writer, pieces, kind.pause_seconds)
        if not kind.statuses:
            await asyncio.sleep(kind.stay_seconds)
            writer.transport.abort()
            return b""
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        return head + await reader.readexactly(length)
    finally:
        writer.close()


async def _send(writer: asyncio.StreamWriter, pieces: Sequence[bytes], pause_seconds: float) -> None:
    # A server may answer and hang up before it has read all; what it said can still be read.
    with contextlib.suppress(ConnectionError):
        for index, piece in enumerate(pieces):
            await asyncio.sleep(pause_seconds if index else 0.0)
            writer.write(piece)
            await writer.drain()


def draw(record: Record, target: Path) -> None:
    """Draws memory over time as an SVG."""
    with mpl.rc_context({"svg.hashsalt": "soak", "svg.fonttype": "none"}), atomic_file(target) as temporary:
        figure = Figure(figsize=(8, 3), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([item.seconds / 60 for item in record.samples], [item.memory_mib for item in record.samples])
        axes.set(xlabel="minutes", ylabel="resident memory, MiB", ylim=(0, None))
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})


@click.command(context_settings={"show_default": True})
@click.option("--minutes", type=click.FloatRange(0.05, 24 * 60), default=20.0, help="Duration.")
@click.option("--rate", type=click.FloatRange(0.1, 100), default=12.0, help="Most draws per second from the mixture.")
@click.option("--seed", type=int, default=0, help="Seed of the order of requests.")
@click.option("--bundle", type=click.Path(path_type=Path), default=DEFAULT_BUNDLE, help="Bundle to serve.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("build/soak.json"),
    help="JSON file to write, with a plot beside it.",
)
def main(minutes: float, rate: float, seed: int, bundle: Path, out: Path) -> None:
    """Starts a server, asks it good, bad, slow and aborted requests, and exits with 1 if a promise was broken.

    \b
    Examples:
      python -m bench.soak
      python -m bench.soak --minutes 2 --rate 30 --out build/quick-soak.json
    """  # noqa: D301 - \b tells click not to wrap
    kinds = mixture()
    with our_server(bundle) as server:
        record = soak(server, kinds, 60 * minutes, rate, seed)
    summary = record.summary()
    settings = {"minutes": minutes, "rate": rate, "seed": seed}
    with atomic_file(out) as file:
        file.write_text(json.dumps({"machine": machine(), "settings": settings, **summary}, indent=1) + "\n")
    draw(record, out.with_suffix(".svg"))
    for name, counts in record.statuses.items():
        told = ", ".join(f"{status}: {count}" for status, count in sorted(counts.items()))
        latency = f"; p99 {summary['latencies_ms'][name]['p99']} ms" if name in record.latencies_ms else ""
        click.echo(f"{name:<28}{told}{latency}")
    click.echo(f"memory, MiB: {summary['memory_mib']}")
    for promise in summary["broken"][:TOLD]:
        click.echo(f"broken: {promise}", err=True)
    sys.exit(1 if summary["broken"] else 0)


if __name__ == "__main__":
    main()
