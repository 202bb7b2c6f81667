"""The objects at `/v1/models` and `/v1/models/<model>`: each protocol adds the fields that its clients read."""

from collections.abc import Sequence
from dataclasses import replace

from server.description.operation import Operation
from server.errors import ModelNotFoundError, NotReadyError
from server.problems import Json
from server.protocols.asking import Asker
from server.protocols.protocol import Protocol, Route

_CONTENT: Json = {"application/json": {"schema": {"type": "object"}}}


def with_models(protocols: Sequence[Protocol]) -> tuple[Protocol, ...]:
    """Returns the protocols, with the shared routes added to the first one that describes models."""
    describing = [protocol for protocol in protocols if protocol.model is not None]
    if not describing:
        return tuple(protocols)
    first = replace(describing[0], routes=(*describing[0].routes, *_routes(protocols, describing[0].name)))
    return tuple(first if protocol is describing[0] else protocol for protocol in protocols)


def _routes(protocols: Sequence[Protocol], tag: str) -> tuple[Route, Route]:
    def models(asker: Asker) -> Json:
        return _merged([protocol.models(asker.config) for protocol in protocols if protocol.models])

    def model(asker: Asker, model: str) -> Json:
        asker.check_model(model)
        return _merged([protocol.model(asker.config) for protocol in protocols if protocol.model])

    about = "One object with the fields that the clients of every protocol read here."
    listed = Operation("/v1/models", "models", tag, "List the served model", about, _CONTENT, (NotReadyError,))
    one = Operation(
        "/v1/models/<model>", "model_of_name", tag, "Model metadata", about, _CONTENT,
        (NotReadyError, ModelNotFoundError), parameters=(MODEL,),
    )  # fmt: skip
    return Route(models, listed), Route(model, one)


MODEL: Json = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "The model's name, as in `/v1/model`.",
    "schema": {"type": "string"},
}
"""The part of a path that names a model."""

VERSION: Json = {**MODEL, "name": "version", "description": "The model's version, as in `/v1/model`."}
"""The part of a path that names a model's version."""


def _merged(parts: list[Json]) -> Json:
    return {name: value for part in parts for name, value in part.items()}
