"""The Open Inference Protocol: its routes and its errors."""

from server.description.operation import CAPTIONING, EXAMPLE_PHOTO, Operation
from server.description.schemas import reference
from server.errors import ModelNotFoundError, NotReadyError, QueueFullError
from server.problems import ErrorForm, Json
from server.protocols.inference.answers import InferAnswer, InferError, InferModel, InferServer
from server.protocols.inference.requests import LENGTH_HEADER, InferBody
from server.protocols.inference.tensors import INPUT
from server.protocols.inference.views import infer, live, model, model_ready, ready, server
from server.protocols.models import MODEL, VERSION
from server.protocols.protocol import Protocol, Route, schemas_of

_LENGTH: Json = {
    "name": LENGTH_HEADER,
    "in": "header",
    "description": "Bytes of the JSON, where binary tensors follow it.",
    "schema": {"type": "integer", "minimum": 1},
}
_BINARY: Json = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _flag(name: str) -> Json:
    return _json({"type": "object", "required": [name], "properties": {name: {"const": True}}})


def _operations(path: str, name: str, *parameters: Json) -> tuple[Route, Route, Route]:
    tag = "open-inference"
    missing = (NotReadyError, ModelNotFoundError)
    tensor = {"name": INPUT, "datatype": "BYTES", "shape": [1], "data": [EXAMPLE_PHOTO.partition(",")[2]]}
    taken = {
        "required": True,
        "description": "The photos have at most `limits.body_bytes` of `/v1/model` in all.",
        "content": {"application/json": {"schema": reference("InferBody"), "example": {"inputs": [tensor]}}, **_BINARY},
    }
    sample = (
        '--json \'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": '
        "[\"'$(base64 -w0 photo.jpg)'\"]}]}'"
    )
    about = (
        "The tensor `image` holds the photos, as base64 in the JSON or as binary data behind it: each photo's length "
        "in four bytes, little-endian, then its bytes. The answer holds, for each photo, the best `caption` and its "
        "`log_probability`, and five `classes` with their `scores`; `classification` sets another number of classes."
    )
    return (
        Route(model, Operation(
            path, f"{name}_model", tag, "Model metadata", "Name, type and shape of its inputs and outputs.",
            _json(reference("InferModel")), missing, parameters=parameters,
        )),
        Route(model_ready, Operation(
            f"{path}/ready", f"{name}_model_ready", tag, "Would this model caption a photo now?", "As `/readyz`.",
            _flag("ready"), (*missing, QueueFullError), parameters=parameters, is_open=True,
        )),
        Route(infer, Operation(
            f"{path}/infer", f"{name}_infer", tag, "Caption and classify photos as tensors", about,
            {**_json(reference("InferAnswer")), **_BINARY}, (*CAPTIONING, ModelNotFoundError), "post",
            (*parameters, _LENGTH), taken, sample,
        )),
    )  # fmt: skip


def _state() -> tuple[Route, Route, Route]:
    tag = "open-inference"
    return (
        Route(server, Operation(
            "/v2", "inference_server", tag, "Server metadata", "Its name, version and extensions.",
            _json(reference("InferServer")),
        )),
        Route(live, Operation(
            "/v2/health/live", "inference_live", tag, "Is the process there?", "As `/livez`.", _flag("live"),
            is_open=True,
        )),
        Route(ready, Operation(
            "/v2/health/ready", "inference_ready", tag, "Would a photo be captioned now?", "As `/readyz`.",
            _flag("ready"), (NotReadyError, QueueFullError), is_open=True,
        )),
    )  # fmt: skip


OPEN_INFERENCE = Protocol(
    name="open-inference",
    about="The Open Inference Protocol v2 of KServe and Triton, with its binary tensors.",
    routes=(
        *_state(),
        *_operations("/v2/models/<model>", "inference", MODEL),
        *_operations("/v2/models/<model>/versions/<version>", "inference_version", MODEL, VERSION),
    ),
    prefixes=("/v2",),
    form=ErrorForm("application/json", lambda members: {"error": members["detail"]}, reference("InferError")),
    schemas=schemas_of(InferAnswer, InferBody, InferError, InferModel, InferServer),
)
