"""The queue in front of the captioner: full, late, failing and not ready, with nothing left to chance or to time."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from flask.testing import FlaskClient

from model.captioner import Captioner
from model.errors import BundleError, DeadlineExceededError
from server.app import create_app
from server.batching import InferenceQueue, PredictOptions
from server.errors import NotReadyError, QueueFullError
from server.settings import ServerSettings

if TYPE_CHECKING:
    from tests.server.conftest import HeldCaptioner

Form = Callable[..., dict[str, Any]]

OPTIONS = PredictOptions(beam_size=1, captions=1, classes=0)


def images(count: int = 1) -> np.ndarray:
    return np.zeros((count, 224, 224, 3), np.uint8)


def soon() -> float:
    return time.monotonic() + 30


def test_a_job_is_answered_in_the_order_of_its_images(inference: InferenceQueue) -> None:
    answer = inference.submit(images(3), OPTIONS, soon()).result()
    assert len(answer.predictions) == 3
    assert answer.queue_seconds >= 0


def test_a_full_queue_refuses_the_next_job_at_once(held_inference: InferenceQueue, held: "HeldCaptioner") -> None:
    running = held_inference.submit(images(), OPTIONS, soon())
    assert held.started.wait(10)
    assert not held_inference.is_full
    waiting = held_inference.submit(images(), OPTIONS, soon())
    assert held_inference.is_full
    with pytest.raises(QueueFullError, match="at most 1 waiting"):
        held_inference.submit(images(), OPTIONS, soon())
    held.released.set()
    assert len(running.result().predictions) == len(waiting.result().predictions) == 1


def test_a_job_that_nobody_waits_for_is_never_started(held_inference: InferenceQueue, held: "HeldCaptioner") -> None:
    running = held_inference.submit(images(1), OPTIONS, soon())
    assert held.started.wait(10)
    late = held_inference.submit(images(2), OPTIONS, time.monotonic())
    with pytest.raises(DeadlineExceededError):
        late.result()
    held.released.set()
    running.result()
    held_inference.submit(images(3), OPTIONS, soon()).result()
    assert held.batch_sizes == [1, 3]


def test_the_captioner_gets_the_deadline(inference: InferenceQueue) -> None:
    with pytest.raises(DeadlineExceededError):
        inference.captioner.predict(images(), deadline=time.monotonic() - 1)
    with pytest.raises(DeadlineExceededError):
        inference.submit(images(), OPTIONS, time.monotonic() - 1).result()


def test_an_error_reaches_only_the_job_that_caused_it(held_inference: InferenceQueue, held: "HeldCaptioner") -> None:
    held.released.set()
    held.error = ZeroDivisionError("of this job")
    with pytest.raises(ZeroDivisionError, match="of this job"):
        held_inference.submit(images(), OPTIONS, soon()).result()
    held.error = None
    assert len(held_inference.submit(images(), OPTIONS, soon()).result().predictions) == 1


def test_a_queue_is_not_ready_before_it_has_loaded_nor_when_that_failed() -> None:
    def fail() -> Captioner:
        raise BundleError("damaged")

    inference = InferenceQueue(fail, 1)
    with pytest.raises(NotReadyError):
        _ = inference.captioner
    inference.start()
    with pytest.raises(BundleError, match="damaged"):
        inference.loading.result(10)
    with pytest.raises(NotReadyError):
        _ = inference.captioner


def assert_problem(client: FlaskClient, form: dict[str, Any], kind: str) -> None:
    response = client.post("/v1/predict", **form)
    assert (response.status_code, response.get_json()["type"]) == (503, f"/problems/{kind}")
    assert int(response.headers["Retry-After"]) >= 1


def test_a_server_that_is_loading_is_alive_but_not_ready(held: "HeldCaptioner", photo: bytes, form: Form) -> None:
    inference = InferenceQueue(lambda: cast(Captioner, held), 1)
    client = create_app(ServerSettings(), inference).test_client()
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == client.get("/v1/model").status_code == 503
    assert_problem(client, form(photo), "not-ready")
    inference.start()
    inference.loading.result(10)
    assert client.get("/readyz").status_code == 200


def test_a_server_with_a_full_queue_answers_503_and_is_not_ready(
    held_inference: InferenceQueue, held: "HeldCaptioner", photo: bytes, form: Form
) -> None:
    client = create_app(ServerSettings(), held_inference).test_client()
    held_inference.submit(images(), OPTIONS, soon())
    assert held.started.wait(10)
    held_inference.submit(images(), OPTIONS, soon())
    assert_problem(client, form(photo), "queue-full")
    assert client.get("/readyz").get_json()["type"] == "/problems/queue-full"
    assert client.get("/livez").status_code == 200


def test_a_request_past_its_deadline_gets_503_while_the_captioner_still_works(
    held_inference: InferenceQueue, held: "HeldCaptioner", photo: bytes, form: Form
) -> None:
    client = create_app(ServerSettings(deadline_seconds=0.05), held_inference).test_client()
    assert_problem(client, form(photo), "deadline-exceeded")
    assert not held.released.is_set()


def test_a_failing_captioner_is_an_incident_and_the_server_goes_on(
    held_inference: InferenceQueue, held: "HeldCaptioner", photo: bytes, form: Form
) -> None:
    client = create_app(ServerSettings(), held_inference).test_client()
    held.released.set()
    held.error = ZeroDivisionError("internal")
    response = client.post("/v1/predict", **form(photo))
    assert (response.status_code, 'internal"' in response.get_data(as_text=True)) == (500, False)
    held.error = None
    assert client.post("/v1/predict", **form(photo)).status_code == 200
