"""The one table of protocols. Routes, keys, errors and the description of the API follow from it."""

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from flask import Flask
from werkzeug.routing import BaseConverter

from server.protocols.asking import Asker
from server.protocols.inference.protocol import OPEN_INFERENCE
from server.protocols.max.protocol import MAX
from server.protocols.models import with_models
from server.protocols.ollama.protocol import OLLAMA
from server.protocols.openai.protocol import OPENAI
from server.protocols.protocol import Protocol
from server.protocols.tfserving.protocol import TF_SERVING
from server.settings import ProtocolName, ServerSettings

PROTOCOLS: Mapping[ProtocolName, Protocol] = MappingProxyType(
    {protocol.name: protocol for protocol in (OPENAI, OLLAMA, MAX, OPEN_INFERENCE, TF_SERVING)}
)
"""All protocols by name. Where several share a path, the first decides the form of errors."""


def chosen(settings: ServerSettings) -> tuple[Protocol, ...]:
    """Returns the protocols that a server with these settings serves."""
    return with_models([protocol for name, protocol in PROTOCOLS.items() if name in settings.protocols])


def open_endpoints(protocols: Sequence[Protocol]) -> frozenset[str]:
    """Returns the endpoints of protocols that need no key."""
    operations = [route.operation for protocol in protocols for route in protocol.routes]
    return frozenset(operation.name for operation in operations if operation.is_open)


class NameConverter(BaseConverter):
    """A name in a path. It ends at a colon, behind which some protocols put a verb, as in `model:predict`."""

    regex = "[^/:]+"
    part_isolating = True


def register_protocols(app: Flask, protocols: Sequence[Protocol], asker: Asker) -> None:
    """Adds the routes of protocols to `app`."""
    app.url_map.converters["default"] = NameConverter
    for protocol in protocols:
        for view, operation in protocol.routes:
            answer = functools.partial(view, asker)
            app.add_url_rule(operation.path, operation.name, answer, methods=[operation.method.upper()])
