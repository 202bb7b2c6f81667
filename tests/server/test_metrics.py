"""What `/metrics` shows: requests, refusals and what it is that runs, with labels that no client can multiply."""

import platform
import threading
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from server.app import create_app
from server.batching import InferenceQueue
from server.decoding.pool import DecodingPool
from server.metrics import ServerMetrics
from server.settings import ServerSettings
from tests.conftest import wait_until
from tests.server.conftest import HeldCaptioner

Sample = Callable[..., float | None]


@pytest.fixture
def metrics() -> ServerMetrics:
    return ServerMetrics()


@pytest.fixture
def sample(metrics: ServerMetrics) -> Sample:
    """Returns a function from the name of a metric, without its prefix, and its labels to its value."""
    return lambda metric, /, **labels: metrics.registry.get_sample_value(f"showtell_{metric}", labels)


@pytest.fixture
def counted(inference: InferenceQueue, decoding: DecodingPool, metrics: ServerMetrics) -> FlaskClient:
    return create_app(ServerSettings(), inference, decoding, metrics, threading.Event()).test_client()


def test_requests_are_counted_and_timed_by_route_method_and_status(
    counted: FlaskClient, photo: bytes, sample: Sample
) -> None:
    for body in (photo, photo, b"no photo"):
        counted.post("/v1/predict", data=body)
    assert sample("requests_total", route="/v1/predict", method="POST", status="200") == 2
    assert sample("requests_total", route="/v1/predict", method="POST", status="415") == 1
    assert sample("request_seconds_count", route="/v1/predict") == 3
    assert 0 < (sample("request_seconds_sum", route="/v1/predict") or 0) < 10


def test_whatever_clients_make_up_is_one_label(counted: FlaskClient, metrics: ServerMetrics, sample: Sample) -> None:
    for number in range(20):
        counted.open(f"/made-up-{number}", method=f"MADEUP{number}")
        counted.get(f"/static/made-up-{number}")
    assert sample("requests_total", route="unknown", method="other", status="404") == 20
    assert sample("requests_total", route="/static/<path:filename>", method="GET", status="404") == 20
    assert b"made-up" not in counted.get("/metrics").data
    (requests,) = metrics.requests.collect()
    assert len({item.labels["route"] for item in requests.samples}) == 3


@pytest.mark.parametrize(
    ("body", "query", "reason"),
    [
        (b"no photo", "", "unsupported-image"),
        (b"\x89PNG\r\n\x1a\n", "", "corrupt-image"),
        (b"", "", "malformed-body"),
        (b"x", "?beam_size=0", "invalid-parameter"),
        (bytes(10 * 1024**2 + 1), "", "body-too-large"),
    ],
)
def test_a_refusal_is_counted_by_its_reason(
    counted: FlaskClient, sample: Sample, body: bytes, query: str, reason: str
) -> None:
    assert sample("rejects_total", reason=reason) == 0
    counted.post(f"/v1/predict{query}", data=body)
    assert sample("rejects_total", reason=reason) == 1


def test_a_missed_deadline_and_a_full_queue_are_refusals(
    held: HeldCaptioner,
    held_inference: InferenceQueue,
    decoding: DecodingPool,
    metrics: ServerMetrics,
    photo: bytes,
    sample: Sample,
) -> None:
    settings = ServerSettings(deadline_seconds=0.3)
    client = create_app(settings, held_inference, decoding, metrics, threading.Event()).test_client()
    assert client.post("/v1/predict", data=photo).status_code == 503
    assert sample("rejects_total", reason="deadline-exceeded") == 1
    assert held.started.wait(10)
    waiting = threading.Thread(target=lambda: client.application.test_client().post("/v1/predict", data=photo))
    waiting.start()
    wait_until(lambda: held_inference.is_full)
    assert client.post("/v1/predict", data=photo).status_code == 503
    assert sample("rejects_total", reason="queue-full") == 1
    assert client.get("/readyz").status_code == 503
    assert sample("rejects_total", reason="queue-full") == 1, "a probe is no refusal"
    waiting.join()


def test_the_program_is_named(metrics: ServerMetrics) -> None:
    (build,) = [item for item in metrics.registry.collect() if item.name == "showtell_build"]
    assert build.samples[0].labels["python"] == platform.python_version()
    assert build.samples[0].labels["version"]
