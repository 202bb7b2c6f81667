"""What a siege needs: a server, clients that mean it no good, and somebody who watches how others fare meanwhile."""

import contextlib
import http.client
import io
import os
import resource
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from PIL import Image

ROOT = Path(__file__).parent.parent.parent
PROBES = ("/livez", "/readyz", "/metrics")
PREDICT = b"POST /v1/predict HTTP/1.1\r\nHost: here\r\n"


def photo() -> bytes:
    """Returns a small JPEG."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "skyblue").save(buffer, "JPEG")
    return buffer.getvalue()


def allow_many_files() -> None:
    """Lets this process open as many connections as an attack needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < 4096:
        most = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class Fortress:
    """A server process that answers.

    Args:
        bundle: What it serves.
        log: File for what it writes to standard error, or an open one.
        options: More flags.
        files: How many files it may have open; None for as many as this process.
    """

    def __init__(self, bundle: Path, log: Path | IO[Any], *options: str, files: int | None = None) -> None:
        command = [sys.executable, "-m", "server.cli", "--port", "0", "--bundle", str(bundle), "--drain-seconds", "0"]
        if files is not None:
            command = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *command]
        with contextlib.ExitStack() as stack:
            errors = stack.enter_context(log.open("w")) if isinstance(log, Path) else log
            self.process = subprocess.Popen(
                [*command, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.communicate()
        assert line.startswith("Ready: open "), "expected it to be ready, it has ended"
        self.port = urllib.parse.urlsplit(line.split()[2]).port or 0

    def worker(self) -> int:
        """Returns the process id of the worker."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def connect(self, window_bytes: int | None = None) -> socket.socket:
        """Returns a connection whose client takes in so many bytes at once; None for what the system chooses."""
        client = socket.socket()
        if window_bytes is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window_bytes)
        client.settimeout(30)
        client.connect(("127.0.0.1", self.port))
        return client

    def is_busy(self) -> bool:
        """Returns whether the worker computes something in the next half second."""
        before = self._ticks()
        threading.Event().wait(0.5)
        return self._ticks() > before + 2

    def _ticks(self) -> int:
        fields = Path(f"/proc/{self.worker()}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def ask(self, method: str, path: str, body: bytes | None = None, **others: Any) -> tuple[int, bytes, float]:
        """Returns status, body and seconds.

        Args:
            method: The request's.
            path: The request's.
            body: The request's.
            others: `port`, where not the main one, and `headers`.
        """
        begun = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", others.pop("port", self.port), timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, **others)
            answer = connection.getresponse()
            content = answer.read()
        return answer.status, content, time.monotonic() - begun

    def say(self, text: bytes) -> bytes:
        """Returns all that is answered to bytes after which the client says no more."""
        with self.connect() as client:
            client.sendall(text)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))

    def close(self) -> None:
        """Ends it at once."""
        with self.process as process:
            process.kill()


def haste() -> float:
    """Returns how many times longer than alone a program takes here now; 1 on a machine with time to spare."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def in_time(times: Sequence[float], seconds: float) -> bool:
    """Returns whether answers came in time: nine of ten within the seconds, the rest within ten times as long.

    The machine itself may hold one up for a moment; what an attack holds up waits for minutes, or for ever.
    """
    ordered = sorted(times)
    limit = seconds * haste()
    return ordered[len(ordered) * 9 // 10 - 1] < limit and ordered[-1] < 10 * limit


class Watch:
    """Notes how probes, and photos, are answered.

    Args:
        server: Whom it asks.
        port: Where probes go.

    Attributes:
        probes: Seconds of each probe that was answered, by its path.
        photos: Status, or 0, and seconds of each photo.
        failures: Probes that were answered otherwise than they should be, or not at all.
        done: Set when it is to end.
    """

    def __init__(self, server: Fortress, port: int) -> None:
        self._server = server
        self._port = port
        self.probes: dict[str, list[float]] = {path: [] for path in PROBES}
        self.photos: list[tuple[int, float]] = []
        self.failures: list[str] = []
        self.done = threading.Event()

    def probe(self) -> None:
        """Asks for all probes ten times a second, and once at least."""
        while True:
            for path in PROBES:
                try:
                    status, _, taken = self._server.ask("GET", path, port=self._port)
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append(f"{path}: {error!r}")
                    continue
                self.probes[path].append(taken)
                if status != 200:
                    self.failures.append(f"{path}: {status}")
            if self.done.wait(0.1):
                return

    def send_photos(self, a_second: float) -> None:
        """Asks for captions."""
        picture = photo()
        while not self.done.wait(1 / a_second):
            try:
                status, _, taken = self._server.ask("POST", "/v1/predict", picture)
            except (OSError, http.client.HTTPException):
                status = 0
                taken = 0.0
            self.photos.append((status, taken))

    def assert_probes_in_time(self, paths: tuple[str, ...] = PROBES, seconds: float = 0.5) -> None:
        assert not self.failures, self.failures[:5]
        for path in paths:
            assert in_time(self.probes[path], seconds), (path, sorted(self.probes[path])[-5:])

    def assert_photos_in_time(self, seconds: float = 1.0) -> None:
        assert self.photos
        assert {status for status, _ in self.photos} == {200}, self.photos
        assert in_time([taken for _, taken in self.photos], seconds), self.photos


@contextlib.contextmanager
def watching(server: Fortress, seconds: float, *, photos_a_second: float = 2, port: int = 0) -> Iterator[Watch]:
    """Watches a server in the background, and for so many seconds when the block is left.

    Args:
        server: The server.
        seconds: How long.
        photos_a_second: How many photos it is asked for; 0 for none.
        port: Where probes go, where not to the main one.
    """
    watch = Watch(server, port or server.port)
    threads = [threading.Thread(target=watch.probe)]
    threads += [threading.Thread(target=watch.send_photos, args=(photos_a_second,))] if photos_a_second else []
    for thread in threads:
        thread.start()
    try:
        yield watch
        watch.done.wait(seconds)
    finally:
        watch.done.set()
        for thread in threads:
            thread.join()


def push(client: socket.socket, data: bytes) -> None:
    """Sends as much as the other side takes at once; it may also have had enough."""
    client.setblocking(False)
    with contextlib.suppress(OSError):
        while data:
            data = data[client.send(data) :]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
