"""The views of TensorFlow Serving's protocol."""

from flask import Response
from msgspec import Struct

from model.config import CaptionerConfig
from server.protocols.asking import Asker
from server.protocols.streams import as_json
from server.protocols.tfserving.predictions import (
    TfClassifyBody,
    TfPredictBody,
    classified,
    classify_wish,
    predict_wish,
    predicted,
)


class TfState(Struct, frozen=True):
    """The status of a version: it is well."""

    error_code: str = "OK"
    error_message: str = ""


class TfVersion(Struct):
    """A version of a model."""

    version: str
    state: str = "AVAILABLE"
    status: TfState = TfState()


class TfStatus(Struct):
    """The versions of a model."""

    model_version_status: list[TfVersion]


def predict(asker: Asker, model: str, version: str | None = None) -> Response:
    """Answers a request for predictions.

    Raises:
        CaptionerError: It cannot be answered.
    """
    asker.check_model(model, version)
    by_column, answers = asker.answer_json(TfPredictBody, lambda body: predict_wish(asker, body))
    return as_json(predicted([answer.prediction for answer in answers], by_column=by_column))


def classify(asker: Asker, model: str, version: str | None = None) -> Response:
    """Answers a request for classes.

    Raises:
        CaptionerError: It cannot be answered.
    """
    asker.check_model(model, version)
    _, answers = asker.answer_json(TfClassifyBody, lambda body: classify_wish(asker, body))
    return as_json(classified([answer.prediction for answer in answers]))


def status(asker: Asker, model: str, version: str) -> Response:
    """Answers whether a version serves.

    Raises:
        ModelNotFoundError: It does not.
    """
    asker.check_model(model, version)
    return as_json(status_of(asker.config))


def status_of(config: CaptionerConfig) -> TfStatus:
    """Returns the state of the version that serves."""
    return TfStatus([TfVersion(config.version)])
