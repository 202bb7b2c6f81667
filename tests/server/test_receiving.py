"""Bodies in memory at once: no more than a few, whoever sends them, and how slowly."""

import contextlib
import io
import threading

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from server.app import create_app
from server.batching import InferenceQueue
from server.decoding.pool import DecodingPool
from server.errors import QueueFullError
from server.metrics import ServerMetrics
from server.receiving import LARGE_BODIES_AT_ONCE, SMALL_BYTES, BodyMemory
from server.settings import ServerSettings


class Slow(io.BytesIO):
    """A body that is held back until the test lets it arrive."""

    def __init__(self, data: bytes, arriving: threading.Semaphore, may_arrive: threading.Event) -> None:
        super().__init__(data)
        self._arriving = arriving
        self._may_arrive = may_arrive

    def wait(self) -> None:
        self._arriving.release()
        assert self._may_arrive.wait(30)

    def read(self, size: int | None = -1, /) -> bytes:
        self.wait()
        return super().read(size)

    def readinto(self, buffer: bytearray, /) -> int:  # type: ignore[override]
        self.wait()
        return super().readinto(buffer)


def ask(app: Flask, stream: io.BytesIO) -> TestResponse:
    return app.test_client().post("/v1/predict", input_stream=stream, content_length=len(stream.getbuffer()))


@pytest.fixture
def app(inference: InferenceQueue, decoding: DecodingPool) -> Flask:
    return create_app(ServerSettings(deadline_seconds=1.0), inference, decoding, ServerMetrics(), threading.Event())


def test_a_body_waits_for_those_that_arrive_but_not_for_ever(app: Flask, photo: bytes) -> None:
    arriving = threading.Semaphore(0)
    may_arrive = threading.Event()
    large = photo.ljust(ServerSettings().max_body_bytes, b"\0")
    fits = LARGE_BODIES_AT_ONCE * 9 // 10
    clients = [threading.Thread(target=ask, args=(app, Slow(large, arriving, may_arrive))) for _ in range(fits)]
    for client in clients:
        client.start()
    try:
        assert all(arriving.acquire(timeout=10) for _ in clients)
        refused = ask(app, io.BytesIO(large))
        assert (refused.status_code, refused.get_json()["type"]) == (503, "/problems/queue-full")
        assert int(refused.headers["Retry-After"]) >= 1
        assert app.test_client().get("/readyz").status_code == 200, "expected probes to need no place"
        assert ask(app, io.BytesIO(photo)).status_code == 200, "expected room for a small photo"
    finally:
        may_arrive.set()
        for client in clients:
            client.join()
    assert ask(app, io.BytesIO(large)).status_code == 200


def test_room_is_given_back_whatever_happens_and_unknown_lengths_count_as_the_largest() -> None:
    memory = BodyMemory(10 * SMALL_BYTES, 100)
    for _ in range(100):
        with contextlib.suppress(ZeroDivisionError), memory.room(None, 0):
            raise ZeroDivisionError
    with contextlib.ExitStack() as held:
        for _ in range(LARGE_BODIES_AT_ONCE * 9 // 10):
            held.enter_context(memory.room(None, 0))
        with pytest.raises(QueueFullError), memory.room(None, 0):
            pass
        for _ in range(20):
            held.enter_context(memory.room(SMALL_BYTES, 0))
        held.enter_context(memory.room(10**12, 0))


def test_no_more_than_so_many_uploads_hold_a_thread() -> None:
    memory = BodyMemory(10 * SMALL_BYTES, 2)
    with memory.room(10, 0), memory.room(10, 0), pytest.raises(QueueFullError), memory.room(10, 10):
        pass
    with memory.room(10, 0):
        pass
