"""The parts of a protocol: its routes, the form of its errors, and its share of the API's description."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from flask.typing import ResponseReturnValue

from model.config import CaptionerConfig
from server.description.operation import Operation
from server.problems import PROBLEM_FORM, ErrorForm, Json
from server.settings import ProtocolName


class Route(NamedTuple):
    """One route: what answers it, given an `Asker` and the parts of the path, and its description."""

    view: Callable[..., ResponseReturnValue]
    operation: Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """A protocol of another server.

    Attributes:
        name: Its name among the settings; also the tag of its operations.
        about: What it is, in a sentence.
        routes: Its routes.
        prefixes: Paths below which errors have its form, even where there is no route.
        form: The form of its errors.
        schemas: Schemas that its operations refer to, by name.
        model: Returns its part of the object at `/v1/models/<model>`, which several protocols share.
        models: Returns its part of the object at `/v1/models`.
    """

    name: ProtocolName
    about: str
    routes: tuple[Route, ...]
    prefixes: tuple[str, ...]
    form: ErrorForm
    schemas: Json = field(default_factory=dict)
    model: Callable[[CaptionerConfig], Json] | None = None
    models: Callable[[CaptionerConfig], Json] | None = None


def error_form(protocols: Sequence[Protocol], path: str) -> ErrorForm:
    """Returns the form of errors at a path: that of the longest route or prefix that matches, for any method."""
    found: tuple[int, ErrorForm] = (0, PROBLEM_FORM)
    for protocol in protocols:
        for pattern, length in _patterns(protocol):
            if length > found[0] and re.fullmatch(pattern, path):
                found = length, protocol.form
    return found[1]


def schemas_of(*kinds: type[msgspec.Struct]) -> Json:
    """Returns the JSON schemas of types and of all types in them, by the names that the description uses."""
    return msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")[1]


def _patterns(protocol: Protocol) -> list[tuple[str, int]]:
    """Returns the patterns of a protocol's paths, and how specific each is."""
    routes = [
        ("[^/]+".join(map(re.escape, re.split("<[^>]+>", route.operation.path))), len(route.operation.path))
        for route in protocol.routes
    ]
    return routes + [(f"{re.escape(prefix)}([/:](?s:.*))?", len(prefix)) for prefix in protocol.prefixes]
