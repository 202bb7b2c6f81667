"""Photos that mean no good, against a real server: nobody else may notice."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import hostile
from bench.process import family, family_memory_mib
from tests.conftest import wait_until
from tests.server.siege import ROOT, Fortress, allow_many_files, watching

pytestmark = pytest.mark.slow

SECONDS = 4.0
UNITS = {"g": 1024, "m": 1}

Make = Callable[[], bytes]
LARGE: dict[str, Make] = {"large PNG": hostile.large_png}
FILES: dict[str, Make] = {**hostile.REFUSED, **hostile.BORNE}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("siege") / "log.txt"


@pytest.fixture(scope="module")
def fortress(toy_bundle: Path, log: Path) -> Iterator[Fortress]:
    """Yields a server with the default limits."""
    allow_many_files()
    server = Fortress(toy_bundle, log)
    yield server
    server.close()


class Attack:
    """Clients that send a file again and again, and what that costs.

    Args:
        server: To whom.
        data: The file.
        clients: How many send it at once.

    Attributes:
        statuses: How often each was answered; 0 for no answer.
        most_mib: Most memory of all the server's processes together, what they share counted once.
    """

    def __init__(self, server: Fortress, data: bytes, clients: int) -> None:
        self._server = server
        self._data = data
        self.statuses: Counter[int] = Counter()
        self.most_mib = 0.0
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(clients)]
        self._threads.append(threading.Thread(target=self._measure))

    def __enter__(self) -> "Attack":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        while not self._done.wait(0.02):
            try:
                status, _, _ = self._server.ask("POST", "/v1/predict", self._data)
            except OSError:  # refused before all was sent
                status = 0
            self.statuses[status] += 1

    def _measure(self) -> None:
        while not self._done.wait(0.1):
            self.most_mib = max(self.most_mib, family_memory_mib(self._server.process.pid))


def container_mib() -> float:
    """Returns the memory that Compose allows the server, in MiB."""
    limit: Any = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["server"]["mem_limit"]
    return float(limit[:-1]) * UNITS[limit[-1]]


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_photo_delays_neither_probes_nor_other_photos(fortress: Fortress, name: str) -> None:
    with Attack(fortress, FILES[name](), 4) as attack, watching(fortress, SECONDS) as watch:
        pass
    watch.assert_probes_in_time()
    watch.assert_photos_in_time()
    assert attack.statuses.keys() <= {200, 413, 422, 503}, attack.statuses
    assert attack.most_mib < container_mib()


def test_many_large_photos_at_once_leave_room_for_small_ones(fortress: Fortress) -> None:
    with Attack(fortress, hostile.large_png(), 24) as attack, watching(fortress, 2 * SECONDS) as watch:
        pass
    watch.assert_probes_in_time()
    watch.assert_photos_in_time()
    assert attack.statuses.keys() <= {200, 503}, attack.statuses
    assert attack.statuses[200], "expected some of them captioned"
    assert attack.most_mib < container_mib()


def test_nothing_of_what_decoders_say_reaches_the_log(fortress: Fortress, log: Path) -> None:
    before = log.stat().st_size
    for name in ("tag flood", "empty GIF", "animated WebP"):
        fortress.ask("POST", "/v1/predict", FILES[name]())
    written = log.read_bytes()[before:]
    assert b"TIFF" not in written
    assert len(written) < 3 * 1000
    assert written.count(b"\n") == 3


def test_a_worker_that_is_killed_takes_its_decoders_with_it(fortress: Fortress) -> None:
    worker = fortress.worker()
    decoders = [process for process in family(worker) if process != worker]
    assert len(decoders) >= 2
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{decoder}").exists() for decoder in decoders), 20)
