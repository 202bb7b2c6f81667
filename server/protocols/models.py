"""The objects at `/v1/models` and `/v1/models/<model>`, to which several protocols add what their clients look for."""

from collections.abc import Sequence
from dataclasses import replace

from server.description.operation import Operation
from server.errors import ModelNotFoundError, NotReadyError
from server.problems import Json
from server.protocols.asking import Asker
from server.protocols.protocol import Protocol, Route

_CONTENT: Json = {"application/json": {"schema": {"type": "object"}}}


def with_models(protocols: Sequence[Protocol]) -> tuple[Protocol, ...]:
    """Returns the protocols, the first that describes models with the routes that all of them share."""
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

    about = "One object has what the clients of every protocol look for here."
    listed = Operation("/v1/models", "models", tag, "The models that serve: one", about, _CONTENT, (NotReadyError,))
    one = Operation(
        "/v1/models/<model>", "model_of_name", tag, "What a model is", about, _CONTENT,
        (NotReadyError, ModelNotFoundError), parameters=(MODEL,),
    )  # fmt: skip
    return Route(models, listed), Route(model, one)


MODEL: Json = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "The model's name, as `/v1/model` tells it.",
    "schema": {"type": "string"},
}
"""The part of a path that names a model."""

VERSION: Json = {**MODEL, "name": "version", "description": "The model's version, as `/v1/model` tells it."}
"""The part of a path that names a model's version."""


def _merged(parts: list[Json]) -> Json:
    return {name: value for part in parts for name, value in part.items()}
