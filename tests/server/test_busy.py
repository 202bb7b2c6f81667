"""What a client is told while the captioner loads, while its queue is full, and when it is late or fails."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from flask.testing import FlaskClient

from model.options import Search
from server.app import create_app
from server.batching import InferenceQueue
from server.decoding.pool import DecodingPool
from server.jobs import PredictOptions
from server.metrics import ServerMetrics
from server.settings import ServerSettings
from tests.server.conftest import HeldCaptioner, QueueOf

Form = Callable[..., dict[str, Any]]

OPTIONS = PredictOptions(search=Search(beam_size=1), captions=1, classes=0)
IMAGE = np.zeros((1, 224, 224, 3), np.uint8)


def assert_problem(client: FlaskClient, form: dict[str, Any], kind: str) -> None:
    response = client.post("/v1/predict", **form)
    assert (response.status_code, response.get_json()["type"]) == (503, f"/problems/{kind}")
    assert int(response.headers["Retry-After"]) >= 1


def test_a_server_that_is_loading_is_alive_but_not_ready(
    queue_of: QueueOf, held: HeldCaptioner, decoding: DecodingPool, photo: bytes, form: Form
) -> None:
    inference = queue_of(waiting=1)
    client = create_app(ServerSettings(), inference, decoding, ServerMetrics(), threading.Event()).test_client()
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == client.get("/v1/model").status_code == 503
    assert_problem(client, form(photo), "not-ready")
    inference.serve(held)
    assert client.get("/readyz").status_code == 200


def test_a_server_with_a_full_queue_answers_503_and_is_not_ready(
    held_inference: InferenceQueue, decoding: DecodingPool, held: HeldCaptioner, photo: bytes, form: Form
) -> None:
    client = create_app(ServerSettings(), held_inference, decoding, ServerMetrics(), threading.Event()).test_client()
    held_inference.submit(IMAGE, OPTIONS, time.monotonic() + 30)
    assert held.started.wait(10)
    held_inference.submit(IMAGE, OPTIONS, time.monotonic() + 30)
    assert_problem(client, form(photo), "queue-full")
    assert client.get("/readyz").get_json()["type"] == "/problems/queue-full"
    assert client.get("/livez").status_code == 200


def test_a_request_past_its_deadline_gets_503_while_the_captioner_still_works(
    held_inference: InferenceQueue, decoding: DecodingPool, held: HeldCaptioner, photo: bytes, form: Form
) -> None:
    client = create_app(
        ServerSettings(deadline_seconds=0.05), held_inference, decoding, ServerMetrics(), threading.Event()
    ).test_client()
    assert_problem(client, form(photo), "deadline-exceeded")
    assert not held.released.is_set()


def test_a_failing_captioner_is_an_incident_and_the_server_goes_on(
    held_inference: InferenceQueue, decoding: DecodingPool, held: HeldCaptioner, photo: bytes, form: Form
) -> None:
    client = create_app(ServerSettings(), held_inference, decoding, ServerMetrics(), threading.Event()).test_client()
    held.released.set()
    held.error = ZeroDivisionError("internal")
    response = client.post("/v1/predict", **form(photo))
    assert (response.status_code, 'internal"' in response.get_data(as_text=True)) == (500, False)
    held.error = None
    assert client.post("/v1/predict", **form(photo)).status_code == 200
