"""Real servers on free ports of 127.0.0.1, started, watched and stopped."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.asked import FORM, OURS
from bench.process import TOLD_CHARACTERS, family, memory_mib

READY_SECONDS = 120.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers.

    Attributes:
        port: Where it listens on 127.0.0.1.
        path: Where predictions are asked for.
        master: Process id of the first process, which starts the others.
        ready_seconds: From the start of the process to the first 200 to whether it is ready.
        log: Descriptor of the file that its output goes to.
        sent: How photos are sent to it, by name in `bench.asked`.
    """

    port: int
    path: str
    master: int
    ready_seconds: float
    log: int
    sent: str = OURS

    def log_text(self) -> str:
        """Returns everything that it has written so far."""
        # By position: the server writes at the offset that both share.
        return os.pread(self.log, os.fstat(self.log).st_size, 0).decode()

    def workers(self) -> list[int]:
        """Returns the process ids of its workers."""
        return [int(child) for child in Path(f"/proc/{self.master}/task/{self.master}/children").read_text().split()]

    def worker_memory_mib(self) -> dict[str, float]:
        """Returns the resident memory, `now` and `peak`, of the one worker.

        Raises:
            RuntimeError: There is not exactly one.
        """
        workers = self.workers()
        if len(workers) != 1:
            raise RuntimeError(f"expected one worker of {self.master}, found {len(workers)}; read the server's log")
        return memory_mib(workers[0])


@contextlib.contextmanager
def our_server(bundle: Path, *options: str) -> Iterator[Running]:
    """Runs `showtell-serve` with its defaults, and further options if there are any."""
    port = _free_port()
    command = [sys.executable, "-m", "server.cli", "--port", str(port), "--bundle", str(bundle), *options]
    with _running(command, port, "/readyz", "/v1/predict") as running:
        yield running


@contextlib.contextmanager
def plain_server(bundle: Path, worker: Sequence[str], threads: int | None = None) -> Iterator[Running]:
    """Runs the plain Flask application under gunicorn, with one worker unless the options say otherwise.

    Args:
        bundle: What to serve.
        worker: gunicorn's options for the workers.
        threads: Of each worker's engine; None for one on each core.
    """
    port = _free_port()
    options = ["--bind", f"127.0.0.1:{port}", "--workers", "1", "--no-control-socket", "--timeout", "120"]
    app = f"bench.plain_flask:create_app({str(bundle)!r}, {threads})"
    command = [sys.executable, "-m", "gunicorn", *options, *worker, app]
    with _running(command, port, "/", "/predict") as running:
        yield running


@contextlib.contextmanager
def lit_server(bundle: Path, workers: int, threads: int) -> Iterator[Running]:
    """Runs LitServe around the captioner, with so many worker processes and threads of each one's engine."""
    port = _free_port()
    command = [sys.executable, "-m", "bench.peers.lit_serve", str(port), str(bundle), str(workers), str(threads)]
    with _running(command, port, "/health", "/predict", FORM) as running:
        yield running


@contextlib.contextmanager
def bento_server(bundle: Path, workers: int, threads: int) -> Iterator[Running]:
    """Runs BentoML around the captioner, with so many worker processes and threads of each one's engine."""
    port = _free_port()
    settings = {"BENCH_BUNDLE": str(bundle), "BENCH_WORKERS": str(workers), "BENCH_THREADS": str(threads)}
    service = "bench.peers.bento_service:Captions"
    command = [sys.executable, "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]
    with _running(command, port, "/readyz", "/predict", settings=settings) as running:
        yield running


@contextlib.contextmanager
def _running(
    command: Sequence[str],
    port: int,
    ready: str,
    path: str,
    sent: str = OURS,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    with tempfile.TemporaryFile("w+") as log:
        started = time.monotonic()
        environment = os.environ | (settings or {})
        with subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environment) as process:  # noqa: S603
            try:
                _wait_until_ready(process, port, ready, started + READY_SECONDS)
                yield Running(port, path, process.pid, time.monotonic() - started, log.fileno(), sent)
            except Exception as error:
                log.seek(0)
                error.add_note(f"{' '.join(command)} said:\n{log.read()[-TOLD_CHARACTERS:]}")
                raise
            finally:
                _stop(process)


def _wait_until_ready(process: "subprocess.Popen[str]", port: int, path: str, deadline: float) -> None:
    while not _is_ready(port, path):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"expected {path} to answer 200 within {READY_SECONDS:g} s, it did not; read its log")
        time.sleep(POLL_SECONDS)


def _is_ready(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_SECONDS)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: "subprocess.Popen[str]") -> None:
    """Ends a server with all that it started: some leave their workers behind."""
    started = family(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
