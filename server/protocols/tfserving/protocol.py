"""TensorFlow Serving's protocol: its routes and its errors."""

from collections.abc import Callable

from flask.typing import ResponseReturnValue
from msgspec import Struct, to_builtins

from model.config import CaptionerConfig
from server.description.operation import CAPTIONING, EXAMPLE_PHOTO, Operation
from server.description.schemas import reference
from server.errors import ModelNotFoundError, NotReadyError
from server.problems import ErrorForm, Json
from server.protocols.models import MODEL, VERSION
from server.protocols.protocol import Protocol, Route, schemas_of
from server.protocols.tfserving.predictions import TfClassified, TfClassifyBody, TfPredictBody, TfPredictions
from server.protocols.tfserving.views import TfStatus, classify, predict, status, status_of


class TfError(Struct):
    """What is wrong."""

    error: str


def _model(config: CaptionerConfig) -> Json:
    # The first is TensorFlow Serving's, the others are KServe's.
    return {**to_builtins(status_of(config)), "name": config.name, "ready": True}


def _models(config: CaptionerConfig) -> Json:
    return {"models": [config.name]}


def _json(name: str) -> Json:
    return {"application/json": {"schema": reference(name)}}


def _post(path: str, name: str, *parameters: Json) -> tuple[Route, Route]:
    row = {"b64": EXAMPLE_PHOTO.partition(",")[2]}

    def route(
        verb: str,
        view: Callable[..., ResponseReturnValue],
        summary: str,
        about: str,
        answer: str,
        body: str,
        field: str,
    ) -> Route:
        taken = {
            "required": True,
            "description": "The photos have at most `limits.body_bytes` of `/v1/model` in all.",
            "content": {"application/json": {"schema": reference(body), "example": {field: [row]}}},
        }
        sample = f'--json \'{{"{field}": [{{"b64": "\'$(base64 -w0 photo.jpg)\'"}}]}}\''
        return Route(view, Operation(
            f"{path}:{verb}", f"{name}_{verb}", "tf-serving", summary, about, _json(answer),
            (*CAPTIONING, ModelNotFoundError), "post", parameters, taken, sample,
        ))  # fmt: skip

    return (
        route(
            "predict", predict, "Caption and classify photos as instances",
            "Photos come as `instances` or `inputs`, in base64 under `b64`, by any name; the best caption of each, its "
            "log probability, and five classes with their scores are answered as `predictions` or `outputs`.",
            "TfPredictions", "TfPredictBody", "instances",
        ),
        route(
            "classify", classify, "Classify photos as examples",
            "Photos come as `examples` or `instances`; five classes of each, with their scores, are the `result`.",
            "TfClassified", "TfClassifyBody", "examples",
        ),
    )  # fmt: skip


_VERSIONED = "/v1/models/<model>/versions/<version>"
_STATUS = Operation(
    _VERSIONED, "tf_status", "tf-serving", "Does this version serve?",
    "Its state, as in the object at `/v1/models/<model>`.", _json("TfStatus"), (NotReadyError, ModelNotFoundError),
    parameters=(MODEL, VERSION),
)  # fmt: skip

TF_SERVING = Protocol(
    name="tf-serving",
    about="TensorFlow Serving's REST protocol, which is KServe's v1 too.",
    routes=(
        Route(status, _STATUS),
        *_post("/v1/models/<model>", "tf", MODEL),
        *_post(_VERSIONED, "tf_version", MODEL, VERSION),
    ),
    prefixes=("/v1/models",),
    form=ErrorForm("application/json", lambda members: {"error": members["detail"]}, reference("TfError")),
    schemas=schemas_of(TfClassified, TfClassifyBody, TfError, TfPredictBody, TfPredictions, TfStatus),
    model=_model,
    models=_models,
)
