"""Photos unlike those of training, over HTTP: said only by a bundle that can tell."""

import threading
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient

from model.captioner import Captioner
from model.engines.lite import LiteEngine
from model.familiarity import Familiarity
from model.image import read_image
from server.app import create_app
from server.decoding.pool import DecodingPool
from server.metrics import ServerMetrics
from server.settings import ServerSettings
from tests.server.conftest import QueueOf
from tests.server.description.test_openapi import check


def test_an_answer_has_it_only_where_the_bundle_can_tell(
    client: FlaskClient, captioner: Captioner, toy_bundle: Path, decoding: DecodingPool, queue_of: QueueOf, photo: bytes
) -> None:
    pixels = read_image(photo).pixels[np.newaxis]
    units = captioner.config.encoder.feature_units
    familiar = Familiarity(np.zeros(units, np.float32), np.ones(units, np.float32), 0.01)
    engine = LiteEngine.of(toy_bundle, captioner.config)
    knowing = Captioner(captioner.config, captioner.vocabulary, captioner.classes, engine, familiar)
    app = create_app(ServerSettings(), queue_of(knowing), decoding, ServerMetrics(), threading.Event())

    answer = app.test_client().post("/v1/predict", data=photo).get_json()

    (told,) = answer["results"]
    assert told["unlikeness"] == pytest.approx(float(familiar.unlikeness(captioner.features(pixels))[0]), rel=1e-4)
    check(client.get("/openapi.json").get_json(), "Answer", answer)
    (plain,) = client.post("/v1/predict", data=photo).get_json()["results"]
    assert "unlikeness" not in plain
    assert {name: told[name] for name in ("captions", "classes")} == {n: plain[n] for n in ("captions", "classes")}
