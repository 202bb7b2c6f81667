"""Photos that are sent again: computed once, whatever the protocol, and nobody gets an answer that is not theirs."""

import base64
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from flask.testing import FlaskClient

from model.captioner import Caption, Prediction, Word
from model.options import Search
from server.app import create_app
from server.decoding.pool import DecodingPool
from server.metrics import ServerMetrics
from server.settings import ServerSettings
from tests.conftest import wait_until
from tests.server.conftest import HeldCaptioner, QueueOf
from tests.server.protocols.photos_in import BASE64, Sent

OLD = "an-old-key-of-20-characters"
NEW = "a-new-key-of-20-characters"


class Speaker(HeldCaptioner):
    """A predictor that says its version and how often it was asked before; not held unless the test says so."""

    def __init__(self, held: HeldCaptioner, version: str = "first") -> None:
        super().__init__(replace(held.config, version=version))
        self.released.set()

    def predict(self, images: npt.NDArray[np.uint8], *, search: Search, **options: object) -> list[Prediction]:
        said = f"{self.config.version} {len(self.batch_sizes)}"
        found = super().predict(images, search=search, **options)
        caption = Caption(said, -1.0, (Word(said, 0.5),), -1.0)
        return [replace(item, captions=(caption,), encode_seconds=1.0, search_seconds=2.0) for item in found]


@pytest.fixture
def speaker(held: HeldCaptioner) -> Speaker:
    return Speaker(held)


@pytest.fixture
def metrics() -> ServerMetrics:
    return ServerMetrics()


Serve = Callable[..., FlaskClient]


@pytest.fixture
def serve(queue_of: QueueOf, speaker: Speaker, decoding: DecodingPool, metrics: ServerMetrics) -> Serve:
    """Returns a function from settings to a client of a server with them, and with room for answers."""
    queue = queue_of(speaker)

    def make(**settings: Any) -> FlaskClient:
        chosen = ServerSettings(**{"cache_megabytes": 1, **settings})
        app = create_app(chosen, queue, decoding, metrics, threading.Event())
        app.config["queue"] = queue
        return app.test_client()

    return make


def said(client: FlaskClient, photo: bytes, query: str = "", **headers: str) -> str:
    answer = client.post(f"/v1/predict{query}", data=photo, headers=headers)
    assert answer.status_code == 200
    return str(answer.json["results"][0]["captions"][0]["text"])  # type: ignore[index]


def looked_up(client: FlaskClient) -> tuple[int, int]:
    """Returns how many photos had an answer already, and how many had none, as `/metrics` says."""
    text = client.get("/metrics").text
    hits, misses = (
        re.findall(rf'^showtell_cache_lookups_total{{result="{result}"}} (.*)$', text, re.MULTILINE)
        for result in ("hit", "miss")
    )
    return int(float(hits[0])), int(float(misses[0]))


def test_the_same_photo_is_computed_once(serve: Serve, speaker: Speaker, photo: bytes) -> None:
    client = serve()
    first, second = (client.post("/v1/predict", data=photo).json["results"][0] for _ in range(2))  # type: ignore[index]
    assert speaker.batch_sizes == [1]
    assert first.pop("timings_ms")["search"] == 2000
    assert second.pop("timings_ms") == {"read": 0, "queue": 0, "encode": 0, "search": 0}
    assert first == second
    assert looked_up(client) == (1, 1)
    assert "showtell_cache_answers 1.0\n" in client.get("/metrics").text


def test_without_the_setting_nothing_is_kept(serve: Serve, photo: bytes) -> None:
    client = serve(cache_megabytes=ServerSettings().cache_megabytes)
    assert [said(client, photo) for _ in range(2)] == ["first 0", "first 1"]
    assert looked_up(client) == (0, 0)


def test_other_parameters_are_other_questions(serve: Serve, photo: bytes) -> None:
    client = serve()
    queries = ["", "?captions=1", "?classes=0", "?max_words=2", "?beam_size=5", "?sample=true&seed=1"]
    queries += ["?sample=true&seed=2", "?sample=true&seed=2&temperature=2", "?diverse_groups=2&beam_size=2"]
    answers = [said(client, photo, query) for query in queries]
    assert len(set(answers)) == len(queries)
    assert [said(client, photo, query) for query in queries] == answers
    assert looked_up(client) == (len(queries), len(queries))


def test_what_is_drawn_without_a_seed_is_drawn_every_time(serve: Serve, photo: bytes) -> None:
    client = serve()
    assert said(client, photo, "?sample=true") != said(client, photo, "?sample=true")
    assert looked_up(client) == (0, 0)
    assert "showtell_cache_answers 0.0\n" in client.get("/metrics").text


def test_keys_share_no_answers(serve: Serve, photo: bytes) -> None:
    client = serve(api_key=(OLD, NEW))
    ways = [{"X-API-Key": OLD}, {"X-API-Key": NEW}, {"Authorization": f"Bearer {OLD}"}]
    assert [said(client, photo, **headers) for headers in ways] == ["first 0", "first 1", "first 0"]


def test_no_error_is_kept(serve: Serve, speaker: Speaker, photo: bytes) -> None:
    client = serve()
    for _ in range(2):
        assert client.post("/v1/predict", data=photo[:300]).status_code == 422
    speaker.error = ZeroDivisionError("for a while")
    assert client.post("/v1/predict", data=photo).status_code == 500
    speaker.error = None
    assert said(client, photo) == "first 1"
    assert looked_up(client) == (0, 4)


def test_an_answer_that_comes_too_late_is_computed_again(serve: Serve, speaker: Speaker, photo: bytes) -> None:
    client = serve(deadline_seconds=0.3)
    speaker.released.clear()
    assert client.post("/v1/predict", data=photo).status_code == 503
    speaker.released.set()
    assert said(client, photo) == "first 1"


def test_known_unknown_and_bad_photos_of_one_request_keep_their_order(
    serve: Serve, speaker: Speaker, photo: bytes, form: Callable[..., dict[str, Any]]
) -> None:
    client = serve()
    said(client, photo)
    answer = client.post("/v1/predict", **form(photo + b"1", photo, b"no photo", photo + b"2"))
    results = answer.json["results"]  # type: ignore[index]
    assert [item.get("captions", [{}])[0].get("text") for item in results] == ["first 1", "first 0", None, "first 1"]
    assert speaker.batch_sizes == [1, 2]


def test_a_full_queue_holds_no_known_photo_up(serve: Serve, speaker: Speaker, photo: bytes) -> None:
    client = serve()
    said(client, photo)
    speaker.started.clear()
    speaker.released.clear()
    waiting = threading.Thread(target=lambda: said(client.application.test_client(), photo + b"another"))
    waiting.start()
    assert speaker.started.wait(10)
    assert said(client, photo) == "first 0"
    speaker.released.set()
    waiting.join()


@pytest.mark.parametrize("path", BASE64)
def test_every_protocol_gives_answers_again(serve: Serve, speaker: Speaker, photo: bytes, path: str) -> None:
    client = serve()
    sent: Sent = BASE64[path](base64.b64encode(photo).decode())
    own = path.replace("toy", speaker.config.name).replace("/versions/1", "/versions/first")
    answers = [client.post(own, data=sent.body, headers=sent.headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert speaker.batch_sizes == [1]
    assert ["first 0" in answer.text for answer in answers] == ["first 0" in answers[0].text] * 2


def test_protocols_share_answers_to_the_same_question(serve: Serve, speaker: Speaker, photo: bytes) -> None:
    client = serve()
    said(client, photo, "?captions=1&classes=0")
    sent = BASE64["/api/generate"](base64.b64encode(photo).decode())
    last = client.post("/api/generate", data=sent.body, headers=sent.headers).text.splitlines()[-1]
    assert speaker.batch_sizes == [1]
    assert '"eval_duration":0' not in last.replace(" ", ""), "clients divide by it"


def test_another_bundle_answers_for_itself(serve: Serve, held: HeldCaptioner, photo: bytes) -> None:
    client = serve()
    assert said(client, photo) == "first 0"
    client.application.config["queue"].serve(Speaker(held, "second"))
    assert [said(client, photo) for _ in range(2)] == ["second 0", "second 0"]


def test_an_answer_that_a_reload_overtakes_is_not_kept(
    serve: Serve, speaker: Speaker, held: HeldCaptioner, photo: bytes
) -> None:
    client = serve()
    speaker.released.clear()
    texts: list[str] = []
    asking = threading.Thread(target=lambda: texts.append(said(client.application.test_client(), photo)))
    asking.start()
    assert speaker.started.wait(10)
    client.application.config["queue"].serve(Speaker(held, "second"))
    speaker.released.set()
    wait_until(lambda: texts == ["first 0"])
    asking.join()
    assert said(client, photo) == "second 0"
