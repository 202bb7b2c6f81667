"""Commands of training in processes of their own, which tests wait for, stop and kill."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

ROOT = Path(__file__).parents[2]
SECONDS = 240
"""After this long a process has hung, even on a busy machine."""

LOOK_SECONDS = 0.002
"""Time between two looks at what a process has written."""

LAUNCHER = """
import json, os, resource, sys
from model.engines.quiet import quiet_tensorflow
quiet_tensorflow()
import matplotlib.backends.backend_svg, training.decoder.tasks, training.encoder.classifier, training.loop.estimate
from training.cli import main
print("ready", flush=True)
for line in sys.stdin:
    arguments, log, most_bytes = json.loads(line)
    pid = os.fork()
    if pid == 0:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        if most_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        sys.argv = ["showtell-train", *arguments]
        try:
            main()
        finally:
            status = sys.exc_info()[1]
            sys.stderr.flush()
            os._exit(status.code if isinstance(status, SystemExit) else 99)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Running(Protocol):
    """A command that is running, or was."""

    def ended_within(self, seconds: float) -> bool:
        """Waits for its end; returns whether it came in time."""

    def told(self) -> str:
        """Returns what it has written to standard output and error."""


def wait_until(holds: Callable[[], bool], *running: Running) -> None:
    """Waits until a condition holds; fails if a process ends before, or if none does anything any more."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert not any(entry.ended_within(LOOK_SECONDS) for entry in running), running[0].told()
        assert time.monotonic() < deadline, running[0].told()


@contextlib.contextmanager
def terminated_when(holds: Callable[[], bool]) -> Iterator[None]:
    """Sends this process SIGTERM as soon as a condition holds, as an operator would at any moment."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(LOOK_SECONDS):
            if holds():
                os.kill(os.getpid(), signal.SIGTERM)
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


class Command:
    """A `showtell-train` command in a new interpreter.

    Args:
        log: File for what it writes to standard output and error.
        arguments: The command's words.
        environment: Variables beside those of this process.
    """

    def __init__(self, log: Path, *arguments: object, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "training.cli", *map(str, arguments)], cwd=ROOT,
                env={**os.environ, **environment}, stdout=output, stderr=output,
            )  # fmt: skip

    def ended_within(self, seconds: float) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.returncode is not None

    def told(self) -> str:
        return self.log.read_text(errors="replace")

    def ended(self) -> int:
        """Waits for the end and returns the exit code."""
        return self.process.wait(SECONDS)

    def kill(self) -> int:
        """Kills the process if it still runs; returns its exit code."""
        self.process.kill()
        return self.process.wait()

    def error(self) -> str:
        """Returns the last error that was written; Python may complain of a thread pool after it, on its way out."""
        return [line for line in self.told().splitlines() if line.startswith("Error: ")][-1]


class Started:
    """A command that a launcher has started."""

    def __init__(self, launcher: "subprocess.Popen[str]", pid: int, log: Path) -> None:
        self._launcher = launcher
        self._pid = pid
        self._log = log

    def ended_within(self, seconds: float) -> bool:
        # The launcher writes nothing but the exit status.
        assert self._launcher.stdout is not None
        return bool(select.select([self._launcher.stdout], [], [], seconds)[0])

    def told(self) -> str:
        return self._log.read_text(errors="replace")

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)

    def wait(self) -> tuple[int, str]:
        """Returns the exit status and what was written to standard output and error."""
        assert self._launcher.stdout is not None
        status = int(self._launcher.stdout.readline())
        return status, self.told()


class Launcher:
    """A process that has imported everything, and forks into commands, one at a time."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER], cwd=ROOT, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._is_ready = False

    def start(self, *arguments: str, most_bytes: int = 0) -> Started:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if not self._is_ready:
            assert self._process.stdout.readline() == "ready\n"
            self._is_ready = True
        self._log.write_text("")  # what the command before has written says nothing of this one
        self._process.stdin.write(json.dumps([arguments, str(self._log), most_bytes]) + "\n")
        self._process.stdin.flush()
        return Started(self._process, int(self._process.stdout.readline()), self._log)

    def run(self, *arguments: str, most_bytes: int = 0) -> tuple[int, str]:
        return self.start(*arguments, most_bytes=most_bytes).wait()

    def close(self) -> None:
        """Ends the process, and with it what it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
