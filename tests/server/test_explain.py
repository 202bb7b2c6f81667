"""Maps of words and classes over HTTP: in both forms, one image at a time, and only where they are asked for."""

import base64
import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from model.attribution import last_map_shape
from model.captioner import Captioner
from model.maps import in_words
from model.options import Search
from server.batching import InferenceQueue
from server.errors import DeadlineExceededError
from server.jobs import PredictOptions
from tests.server.conftest import HeldCaptioner, QueueOf
from tests.server.description.test_openapi import check

Form = Callable[..., dict[str, Any]]


def explained(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the words and classes of the only result."""
    (result,) = answer["results"]
    return [*(word for caption in result["captions"] for word in caption["words"]), *result["classes"]]


@pytest.fixture(scope="module")
def sides(captioner: Captioner) -> tuple[int, int]:
    """Returns the height and width of the maps."""
    return last_map_shape(captioner.config.encoder, 224)[:2]


@pytest.mark.parametrize("form", ["1", "png"])
def test_every_word_and_class_has_a_picture(
    client: FlaskClient, photo: bytes, sides: tuple[int, int], form: str
) -> None:
    answer = client.post(f"/v1/predict?explain={form}&captions=3&classes=4", data=photo).get_json()
    items = explained(answer)
    assert len(items) > 4
    for item in items:
        start, _, encoded = item["map"].partition(",")
        assert start == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
            assert (image.mode, image.size) == ("L", sides[::-1])
    assert answer["results"][0]["timings_ms"]["explain"] >= 0


def test_maps_come_as_numbers_too(client: FlaskClient, photo: bytes, sides: tuple[int, int]) -> None:
    answer = client.post("/v1/predict?explain=values", data=photo).get_json()
    for item in explained(answer):
        assert np.shape(item["map"]) == sides
        assert item["where"] == in_words(np.asarray(item["map"], np.float32))
    assert any(value for item in explained(answer) for row in item["map"] for value in row)


def test_json_asks_for_them_as_the_query_does(client: FlaskClient, photo: bytes) -> None:
    body = {"image": base64.b64encode(photo).decode(), "explain": "values", "captions": 1, "classes": 2}
    by_json = client.post("/v1/predict", json=body).get_json()
    by_query = client.post("/v1/predict?explain=values&captions=1&classes=2", data=photo).get_json()
    assert explained(by_json) == explained(by_query)


def test_nobody_else_gets_maps_and_all_else_stays_the_same(client: FlaskClient, photo: bytes) -> None:
    plain = client.post("/v1/predict", data=photo).get_json()
    maps = client.post("/v1/predict?explain=png", data=photo).get_json()
    assert not any("map" in item for item in explained(plain))
    assert "explain" not in plain["results"][0]["timings_ms"]
    without = [
        {name: value for name, value in item.items() if name not in ("map", "where")} for item in explained(maps)
    ]
    assert without == explained(plain)


@pytest.mark.parametrize("explain", ["png", "values"])
def test_an_explained_answer_is_as_described(client: FlaskClient, photo: bytes, explain: str) -> None:
    document = client.get("/openapi.json").get_json()
    check(document, "Answer", client.post(f"/v1/predict?explain={explain}", data=photo).get_json())


def test_more_than_one_image_is_refused(client: FlaskClient, photo: bytes, form: Form) -> None:
    text = base64.b64encode(photo).decode()
    responses = [
        client.post("/v1/predict?explain=1", **form(photo, photo)),
        client.post("/v1/predict", json={"images": [text, text], "explain": "png"}),
    ]
    for response in responses:
        assert (response.status_code, response.get_json()["type"]) == (400, "/problems/invalid-parameter")
        assert "expected one image in the request with it, received 2" in response.get_json()["detail"]


@pytest.mark.parametrize("value", ["true", "0", "", "PNG", "png,values"])
def test_another_form_is_refused(client: FlaskClient, photo: bytes, value: str) -> None:
    response = client.post(f"/v1/predict?explain={value}", data=photo)
    assert response.status_code == 400
    assert response.get_json()["detail"] == f"explain: expected 1, png or values, received '{value}'"


def test_who_wants_no_maps_does_not_wait_for_those_of_others(held: HeldCaptioner, queue_of: QueueOf) -> None:
    queue = queue_of(held)
    deadline = time.monotonic() + 30
    plain = PredictOptions(search=Search(beam_size=1), captions=1, classes=0)
    maps = PredictOptions(search=Search(beam_size=1), captions=1, classes=0, explain="png")
    one = np.zeros((1, 224, 224, 3), np.uint8)
    jobs = [queue.submit(one, plain, deadline)]
    assert held.started.wait(10)
    jobs += [queue.submit(one, options, deadline) for options in (plain, plain, maps, plain)]
    held.released.set()
    for job in jobs:
        job.result()
    assert held.batch_sizes == [1, 2, 1, 1]


def test_maps_end_at_the_deadline(captioner: Captioner, queue_of: QueueOf) -> None:
    class Late:
        """The real captioner, whose deadline passes when the search is done and the maps begin."""

        config = captioner.config
        classes = captioner.classes
        engine = "late"

        def predict(self, images: Any, *, explain: bool, wanted: Any, **options: Any) -> Any:
            asked = 0

            def late() -> Any:
                nonlocal asked
                asked += 1
                if asked >= captioner.config.search.max_words:
                    job.deadline = time.monotonic() - 1
                return wanted()

            found = captioner.predict(images, explain=explain, wanted=late, **options)
            made.append(len(found[0].explanation.captions) if found[0].explanation else -1)
            return found

    made: list[int] = []
    search = Search(beam_size=3, max_words=captioner.config.search.max_words)
    options = PredictOptions(search=search, captions=3, classes=0, explain="png")
    queue: InferenceQueue = queue_of()
    job = queue.submit(np.zeros((1, 224, 224, 3), np.uint8), options, time.monotonic() + 30)
    queue.serve(Late())
    with pytest.raises(DeadlineExceededError):
        job.result()
    queue.close()
    assert made in ([0], [1], [2])
