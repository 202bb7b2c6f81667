"""A real queue with a real toy captioner, and a captioner that takes its time where a test decides how much."""

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from flask.testing import FlaskClient
from PIL import Image, ImageDraw

from model.bundle import ClassName
from model.captioner import Captioner, Prediction
from model.config import CaptionerConfig
from model.image import MAX_PIXELS
from model.options import Search
from server.app import create_app
from server.batching import BatchLimits, InferenceQueue, Predictor
from server.decoding.pool import DecodingPool
from server.logs import JsonFormatter
from server.metrics import ServerMetrics
from server.settings import ServerSettings
from tests.server.running import Running, Start

QueueOf = Callable[..., InferenceQueue]


class Log:
    """What was written."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(formatter)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


class HeldCaptioner:
    """A predictor whose every prediction lasts until the test releases it."""

    engine = "held"
    classes: tuple[ClassName, ...] = ()

    def __init__(self, config: CaptionerConfig) -> None:
        self.config = config
        self.started = threading.Event()
        self.released = threading.Event()
        self.batch_sizes: list[int] = []
        self.searches: list[Search] = []
        self.error: Exception | None = None
        self.poison = 256
        """Value that no picture of a good request has everywhere."""

    def predict(self, images: npt.NDArray[np.uint8], *, search: Search, **_options: object) -> list[Prediction]:
        self.batch_sizes.append(len(images))
        self.searches.append(search)
        self.started.set()
        assert self.released.wait(30)
        if self.error is not None:
            raise self.error
        if (images == self.poison).all(axis=(1, 2, 3)).any():
            raise ZeroDivisionError("of the poisoned picture")
        return [Prediction((), (), 0.0, 0.0)] * len(images)


@pytest.fixture(scope="session")
def photo() -> bytes:
    """Returns a JPEG of 90x60 pixels."""
    image = Image.new("RGB", (90, 60), "skyblue")
    ImageDraw.Draw(image).ellipse((20, 10, 60, 50), fill="darkgreen")
    return encoded(image, "JPEG")


def encoded(image: Image.Image, name: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def captioner(toy_bundle: Path) -> Captioner:
    return Captioner.load(toy_bundle)


@pytest.fixture(scope="session")
def inference(captioner: Captioner) -> Iterator[InferenceQueue]:
    """Yields a queue whose captioner is loaded."""
    inference = InferenceQueue(BatchLimits(max_waiting=4, max_batch=8, max_wait_seconds=0), ServerMetrics())
    inference.serve(captioner)
    yield inference
    inference.close()


@pytest.fixture(scope="session")
def decoding() -> Iterator[DecodingPool]:
    """Yields real decoding processes."""
    pool = DecodingPool(ServerSettings().max_body_bytes, MAX_PIXELS, ServerMetrics())
    pool.start()
    yield pool
    pool.stop()


@pytest.fixture(scope="session")
def client(inference: InferenceQueue, decoding: DecodingPool) -> FlaskClient:
    return create_app(ServerSettings(), inference, decoding, ServerMetrics(), threading.Event()).test_client()


@pytest.fixture
def queue_of() -> Iterator[QueueOf]:
    """Yields a function to a queue, with a captioner if one is given; each is closed at the end."""
    queues: list[InferenceQueue] = []

    def make(
        captioner: Predictor | None = None,
        *,
        waiting: int = 100,
        batch: int = 8,
        wait: float = 0.0,
        metrics: ServerMetrics | None = None,
    ) -> InferenceQueue:
        limits = BatchLimits(max_waiting=waiting, max_batch=batch, max_wait_seconds=wait)
        queues.append(InferenceQueue(limits, metrics or ServerMetrics()))
        if captioner is not None:
            queues[-1].serve(captioner)
        return queues[-1]

    yield make
    for queue in queues:
        queue.close()


@pytest.fixture
def held(inference: InferenceQueue, queue_of: QueueOf) -> Iterator[HeldCaptioner]:  # noqa: ARG001 - closed after it
    """Yields a captioner that waits for the test, and is released before its queues are closed."""
    captioner = HeldCaptioner(inference.captioner.config)
    yield captioner
    captioner.released.set()


@pytest.fixture
def held_inference(queue_of: QueueOf, held: HeldCaptioner) -> InferenceQueue:
    """Returns a queue with room for one waiting job, and a captioner that waits for the test."""
    return queue_of(held, waiting=1)


@pytest.fixture(scope="session")
def form() -> Callable[..., dict[str, Any]]:
    """Returns a function from the bytes of images to the arguments of a multipart request."""

    def make(*images: bytes) -> dict[str, Any]:
        files = [(io.BytesIO(data), f"private-name-{index}.jpg") for index, data in enumerate(images)]
        return {"data": {"image": files}, "content_type": "multipart/form-data"}

    return make


@pytest.fixture(params=[JsonFormatter])
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    """Yields what the server logs, as JSON unless the test says otherwise."""
    log = Log(request.param())
    logger = logging.getLogger("server")
    level = logger.level
    logger.addHandler(log.handler)
    logger.setLevel(logging.INFO)
    yield log
    logger.removeHandler(log.handler)
    logger.setLevel(level)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Yields a function from a bundle and flags to a running server; none outlives the test."""
    started: list[Running] = []

    def begin(bundle: Path, *options: str) -> Running:
        started.append(Running(bundle, tmp_path / f"log-{len(started)}.txt", *options))
        return started[-1]

    yield begin
    for server in started:
        with server.process as process:
            process.kill()
