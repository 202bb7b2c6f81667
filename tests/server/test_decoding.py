"""Decoding in processes of their own: what a photo may cost, who is next, and what a failing decoder costs others."""

import contextlib
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench import hostile
from model.errors import CorruptImageError, ImageError, ImageTooLargeError, UnsupportedImageError
from model.image import FORMATS, read_image
from model.options import Search
from server.app import create_app
from server.batching import InferenceQueue
from server.decoding.pool import DecodingPool
from server.errors import CostlyImageError, DeadlineExceededError, NotReadyError, OutOfResourcesError, QueueFullError
from server.jobs import PredictOptions
from server.metrics import ServerMetrics
from server.settings import ServerSettings
from tests.conftest import wait_until
from tests.server.conftest import HeldCaptioner

BODY_BYTES = 96 * 1024**2
PIXELS = 50_000_000


@pytest.fixture
def metrics() -> ServerMetrics:
    return ServerMetrics()


@pytest.fixture
def pool(metrics: ServerMetrics) -> Iterator[DecodingPool]:
    """Yields two decoders."""
    pool = DecodingPool(BODY_BYTES, PIXELS, metrics, places=2)
    pool.start()
    yield pool
    pool.stop()


def soon(seconds: float = 60) -> float:
    return time.monotonic() + seconds


def replaced(metrics: ServerMetrics, reason: str) -> float:
    return metrics.registry.get_sample_value("showtell_decoders_replaced_total", {"reason": reason}) or 0.0


@pytest.mark.parametrize("name", FORMATS)
def test_a_decoder_gives_what_reading_gives(pool: DecodingPool, name: str) -> None:
    data = hostile.encoded(hostile.photo(), name)
    found = pool.decode(data, soon())
    expected = read_image(data)
    assert (found.width, found.height) == (expected.width, expected.height)
    np.testing.assert_array_equal(found.pixels, expected.pixels)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"no photo", UnsupportedImageError),
        (hostile.encoded(hostile.photo(), "PNG")[:2000], CorruptImageError),
        (hostile.tall_png(), ImageTooLargeError),
    ],
    ids=["text", "half", "tall"],
)
def test_a_refusal_is_the_same_as_without_a_decoder(pool: DecodingPool, data: bytes, kind: type[ImageError]) -> None:
    with pytest.raises(kind) as here:
        read_image(data)
    with pytest.raises(kind) as there:
        pool.decode(data, soon())
    assert str(here.value) == str(there.value)


def test_a_decoder_that_crashes_costs_its_photo_alone(pool: DecodingPool, metrics: ServerMetrics) -> None:
    first, second = pool.process_ids
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(pool.decode, hostile.run_length_bmp(8), soon())
        wait_until(lambda: len(pool.process_ids) == 1)
        (busy,) = {first, second} - set(pool.process_ids)
        other = threads.submit(pool.decode, hostile.encoded(hostile.photo(), "JPEG"), soon())
        os.kill(busy, signal.SIGSEGV)
        with pytest.raises(CostlyImageError, match="ended its decoder"):
            slow.result()
        assert other.result().width == 500
    assert replaced(metrics, "crash") == 1
    assert pool.decode(hostile.encoded(hostile.photo(), "JPEG"), soon()).width == 500
    assert busy not in pool.process_ids


def test_a_photo_that_takes_too_much_processor_time_is_at_fault(pool: DecodingPool, metrics: ServerMetrics) -> None:
    with pytest.raises(CostlyImageError, match="processor time"):
        pool.decode(hostile.run_length_bmp(90), soon())
    assert replaced(metrics, "processor-time") == 1


def test_a_photo_that_is_not_decoded_in_time_is_not_at_fault(pool: DecodingPool, metrics: ServerMetrics) -> None:
    ordinary = hostile.encoded(hostile.photo(), "JPEG")
    pool.decode(ordinary, soon())
    for process in pool.process_ids:
        os.kill(process, signal.SIGSTOP)
    with pytest.raises(DeadlineExceededError):
        pool.decode(ordinary, soon(0.5))
    assert replaced(metrics, "deadline") == 1
    assert pool.decode(ordinary, soon()).width == 500


def is_limited(process: int) -> bool:
    return resource.prlimit(process, resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def test_too_little_memory_is_not_the_fault_of_the_photo(pool: DecodingPool, metrics: ServerMetrics) -> None:
    for process in pool.process_ids:
        wait_until(partial(is_limited, process))
        used = int(Path(f"/proc/{process}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(process, resource.RLIMIT_AS, (used, used))
    with pytest.raises(OutOfResourcesError):
        pool.decode(hostile.encoded(hostile.photo(3000, 2000), "PNG"), soon())
    assert replaced(metrics, "memory") == 1
    assert pool.decode(hostile.encoded(hostile.photo(3000, 2000), "PNG"), soon()).width == 3000


def test_an_idle_decoder_that_dies_costs_nothing(pool: DecodingPool, metrics: ServerMetrics) -> None:
    killed = pool.process_ids
    for process in killed:
        os.kill(process, signal.SIGKILL)
    for process in killed:
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    assert pool.decode(hostile.encoded(hostile.photo(), "JPEG"), soon()).width == 500
    assert not any(replaced(metrics, reason) for reason in ("crash", "memory", "deadline", "processor-time"))


def test_large_photos_leave_a_place_for_ordinary_ones(pool: DecodingPool) -> None:
    large = hostile.large_png(4500)
    ordinary = hostile.encoded(hostile.photo(), "JPEG")
    done: list[str] = []

    def decode(name: str, data: bytes) -> None:
        pool.decode(data, soon())
        done.append(name)

    with ThreadPoolExecutor(8) as threads:
        for _ in range(4):
            threads.submit(decode, "large", large)
        wait_until(lambda: pool.waiting == 3)
        for _ in range(4):
            threads.submit(decode, "ordinary", ordinary)
    assert done[:4] == ["ordinary"] * 4
    assert len(done) == 8


def test_a_photo_that_waits_too_long_is_told_so(pool: DecodingPool) -> None:
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(pool.decode, hostile.run_length_bmp(4), soon())
        wait_until(lambda: len(pool.process_ids) == 1)
        with pytest.raises(DeadlineExceededError):
            pool.decode(hostile.large_png(), soon(0.05))
        first.result()
    assert pool.waiting == 0


def test_the_age_of_ordinary_photos_is_told_and_that_of_large_ones_is_not(pool: DecodingPool) -> None:
    assert pool.oldest_seconds == 0
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(pool.decode, hostile.run_length_bmp(4), soon())
        wait_until(lambda: len(pool.process_ids) == 1)
        assert pool.oldest_seconds == 0
        slow.result()


def test_where_no_decoder_can_be_started_the_server_is_not_ready_until_one_can(metrics: ServerMetrics) -> None:
    pool = DecodingPool(BODY_BYTES, PIXELS, metrics, places=2)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    # No descriptor above those in use: a decoder needs a socket.
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        pool.start()
        with pytest.raises(NotReadyError):
            pool.check()
        with pytest.raises(OutOfResourcesError):
            pool.decode(hostile.encoded(hostile.photo(), "JPEG"), soon())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    pool.check()
    assert pool.decode(hostile.encoded(hostile.photo(), "JPEG"), soon()).width == 500
    pool.stop()


def test_a_decoder_knows_no_secret_and_ends_with_its_server(
    metrics: ServerMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOWTELL_API_KEY", "a-key-of-22-characters")
    pool = DecodingPool(BODY_BYTES, PIXELS, metrics, places=2)
    pool.start()
    pool.decode(hostile.encoded(hostile.photo(), "JPEG"), soon())
    for process in pool.process_ids:
        assert b"SHOWTELL" not in Path(f"/proc/{process}/environ").read_bytes()
    threading.Thread(target=pool.stop).start()
    wait_until(lambda: not pool.process_ids)


@pytest.mark.parametrize("name", hostile.REFUSED)
def test_a_hostile_file_is_refused_from_its_headers(pool: DecodingPool, name: str) -> None:
    data = hostile.REFUSED[name]()
    begun = time.process_time()
    with pytest.raises(ImageError):
        pool.decode(data, soon())
    assert time.process_time() - begun < 0.5
    assert len(pool.process_ids) == 2


@pytest.mark.parametrize("name", hostile.BORNE)
def test_a_costly_file_costs_no_more_than_its_own_place(pool: DecodingPool, name: str) -> None:
    with contextlib.suppress(ImageError):
        pool.decode(hostile.BORNE[name](), soon())
    assert pool.decode(hostile.encoded(hostile.photo(), "JPEG"), soon()).width == 500


def test_large_photos_are_refused_where_as_many_as_can_be_decoded_wait(pool: DecodingPool) -> None:
    large = hostile.large_png()
    ordinary = hostile.encoded(hostile.photo(), "JPEG")
    statuses: list[type[Exception] | None] = []

    def decode(data: bytes) -> None:
        try:
            pool.decode(data, soon(4))
        except (QueueFullError, DeadlineExceededError) as error:
            statuses.append(type(error))
        else:
            statuses.append(None)

    with ThreadPoolExecutor(16) as threads:
        for _ in range(12):
            threads.submit(decode, large)
        wait_until(lambda: statuses.count(QueueFullError) >= 6)
        decode(ordinary)
        assert statuses[-1] is None
    assert pool.waiting == 0


def test_a_server_whose_decoders_hang_is_not_ready_and_shows_it(
    pool: DecodingPool, metrics: ServerMetrics, inference: InferenceQueue
) -> None:
    client = create_app(ServerSettings(deadline_seconds=1.0), inference, pool, metrics, threading.Event()).test_client()
    ordinary = hostile.encoded(hostile.photo(), "JPEG")
    pool.decode(ordinary, soon())
    assert client.get("/readyz").status_code == 200
    for process in pool.process_ids:
        os.kill(process, signal.SIGSTOP)
    with ThreadPoolExecutor(2) as threads:
        stuck = [threads.submit(pool.decode, ordinary, soon(8)) for _ in range(2)]
        wait_until(lambda: client.get("/readyz").status_code == 503, 5)
        assert client.get("/readyz").get_json()["type"] == "/problems/not-ready"
        shown = client.get("/metrics").text.split("\nshowtell_decoding_oldest_seconds ")[1].split()[0]
        assert float(shown) > 0.5
        for future in stuck:
            with pytest.raises(DeadlineExceededError):
                future.result()
    assert client.get("/readyz").status_code == 200
    assert pool.decode(ordinary, soon()).width == 500


def test_a_server_whose_engine_hangs_is_not_ready_and_shows_it(
    pool: DecodingPool, metrics: ServerMetrics, held_inference: InferenceQueue, held: HeldCaptioner
) -> None:
    settings = ServerSettings(deadline_seconds=0.5)
    client = create_app(settings, held_inference, pool, metrics, threading.Event()).test_client()
    assert client.get("/readyz").status_code == 200
    job = held_inference.submit(
        np.zeros((1, 224, 224, 3), np.uint8),
        PredictOptions(search=Search(beam_size=1), captions=1, classes=1),
        soon(20),
    )
    assert held.started.wait(10)
    wait_until(lambda: client.get("/readyz").status_code == 503, 5)
    assert client.get("/readyz").get_json()["type"] == "/problems/not-ready"
    assert held_inference.oldest_seconds > 0.25
    held.released.set()
    job.result()
    wait_until(lambda: client.get("/readyz").status_code == 200, 5)
