"""A cheap load generator, because it shares the cores with the server that it measures.

One process and keep-alive connections. Requests are prepared bytes; of an answer only the status line and the few
headers that matter are parsed.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from bench.asked import ASKED, JPEG, OURS
from bench.photos import photo
from bench.process import answer_json

HOST = "127.0.0.1"
PHOTOS = 8
SHORT_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0
TIMEOUT_SECONDS = 30.0
ATTEMPTS_PER_ANSWER = 4
LEVEL_SECONDS = 90.0

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Answer(NamedTuple):
    """The parts of an answer that a client reads: status, time to wait, and whether the connection ends."""

    status: int
    retry_after_seconds: float
    closes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """The result of one number of clients.

    Attributes:
        clients: Clients at the same time.
        seconds: From the first request to the last good answer.
        latencies_ms: Time of every good answer from its request, and from connecting where it had to.
        statuses: Answers by status, and `error` for none at all.
        cpu_seconds: Processor time of the load generator.
    """

    clients: int
    seconds: float
    latencies_ms: list[float]
    statuses: dict[str, int]
    cpu_seconds: float


def prepared_request(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """Returns the bytes of a POST, with a JPEG unless the headers say otherwise."""
    told = {"Content-Type": JPEG} if headers is None else headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def run_level(port: int, requests: Sequence[bytes], clients: int, answers: int) -> Level:
    """Sends requests until there are enough good answers, too many tries, or too many seconds.

    Args:
        port: Where the server listens on 127.0.0.1.
        requests: Sent one after the other, again and again.
        clients: Clients at the same time, each waiting for its answer before it asks again.
        answers: Good answers wanted; a few more come, to requests that are under way.

    Returns:
        What the clients saw.
    """
    run = _Run(port, requests, answers)
    cpu = time.process_time()
    asyncio.run(run.all_clients(clients))
    return Level(
        clients=clients,
        seconds=run.last - run.started,
        latencies_ms=run.latencies_ms,
        statuses=dict(run.statuses),
        cpu_seconds=time.process_time() - cpu,
    )


@dataclass
class _Run:
    """The state that the clients of one level share."""

    port: int
    requests: Sequence[bytes]
    answers: int
    sent: int = 0
    started: float = field(default_factory=time.perf_counter)
    last: float = field(default_factory=time.perf_counter)
    latencies_ms: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)

    async def all_clients(self, clients: int) -> None:
        await asyncio.gather(*(self._client() for _ in range(clients)))

    async def _client(self) -> None:
        connection: Connection | None = None
        while self._goes_on():
            request = self.requests[self.sent % len(self.requests)]
            self.sent += 1
            begun = time.perf_counter()
            pause = SHORT_PAUSE_SECONDS
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    connection = connection or await asyncio.open_connection(HOST, self.port)
                    answer = await _exchange(connection, request)
            except (OSError, EOFError, ValueError):
                self.statuses["error"] += 1
                _close(connection)
                connection = None
            else:
                pause = answer.retry_after_seconds
                self._note(answer, begun)
                if answer.closes:
                    _close(connection)
                    connection = None
            if pause:
                await asyncio.sleep(pause)
        _close(connection)

    def _goes_on(self) -> bool:
        is_late = time.perf_counter() - self.started > LEVEL_SECONDS
        return len(self.latencies_ms) < self.answers and self.sent < ATTEMPTS_PER_ANSWER * self.answers and not is_late

    def _note(self, answer: Answer, begun: float) -> None:
        self.statuses[str(answer.status)] += 1
        if answer.status == 200:
            self.last = time.perf_counter()
            self.latencies_ms.append((self.last - begun) * 1000)


async def _exchange(connection: Connection, request: bytes) -> Answer:
    """Sends a request and reads the whole answer."""
    reader, writer = connection
    writer.write(request)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(_header(head, b"content-length") or 0))
    status = int(head.split(b" ", 2)[1])
    pause = 0.0
    if status == 503:
        pause = min(float(_header(head, b"retry-after") or SHORT_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
    return Answer(status, pause, _header(head, b"connection") == b"close")


def _header(head: bytes, name: bytes) -> bytes:
    _, _, rest = head.partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip()


def _close(connection: Connection | None) -> None:
    if connection is not None:
        connection[1].close()


def _main(port: int, path: str, clients: int, answers: int, warm_up: int, name: str) -> None:
    sent = [ASKED[name].sent(photo(seed)) for seed in range(PHOTOS)]
    requests = [prepared_request(path, body, headers) for headers, body in sent]
    if warm_up:
        run_level(port, requests, clients, warm_up)
    answer_json(asdict(run_level(port, requests, clients, answers)))


if __name__ == "__main__":
    _port, _path, _clients, _answers, _warm_up, *_name = sys.argv[1:]
    _main(int(_port), _path, int(_clients), int(_answers), int(_warm_up), *(_name or [OURS]))
