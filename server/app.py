"""The application factory: endpoints, their description, the demo page, problems, access and the log."""

import threading
from pathlib import Path

from flask import Flask, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from server.access import register_access
from server.api import Api
from server.batching import InferenceQueue
from server.caching import AnswerCache
from server.decoding.pool import DecodingPool
from server.description.docs import register_docs
from server.logs import register_logs
from server.metrics import ServerMetrics
from server.prefix import register_prefix
from server.problems import register_problems
from server.protocols.asking import Asker
from server.protocols.protocol import error_form
from server.protocols.table import chosen, open_endpoints, register_protocols
from server.service import Answered, CaptionService
from server.settings import ServerSettings
from server.typed_json import AnswerJson

STATIC = Path(__file__).parent.parent / "static"
"""The demo page's files: beside this package in the repository, and in a wheel too."""


def create_app(
    settings: ServerSettings,
    inference: InferenceQueue,
    decoding: DecodingPool,
    metrics: ServerMetrics,
    draining: threading.Event,
) -> Flask:
    """Builds the WSGI application.

    Args:
        settings: The limits.
        inference: Where images are captioned; the captioner may still be loading.
        decoding: Where they are decoded.
        metrics: What `/metrics` shows.
        draining: Set when the server begins to shut down.

    Returns:
        The application.
    """
    app = Flask("server", static_folder=STATIC, static_url_path="/static")
    # A path with two slashes gets 404. werkzeug would redirect it to the host that the Host header names.
    app.url_map.merge_slashes = False
    app.json = AnswerJson(app)
    register_logs(app, metrics)
    register_prefix(app, settings)
    protocols = chosen(settings)
    register_access(app, settings, open_endpoints(protocols))
    register_problems(app, lambda request: error_form(protocols, request.path))
    app.add_url_rule("/", "index", lambda: app.send_static_file("index.html"))
    app.add_url_rule("/metrics", "metrics", lambda: _metrics(metrics))
    cache = AnswerCache(Answered, settings.cache_megabytes * 1024**2, metrics)
    service = CaptionService(settings, inference, decoding, draining, cache)
    Api(settings, service).register(app)
    register_protocols(app, protocols, Asker(settings, service))
    register_docs(app, settings)
    return app


def _metrics(metrics: ServerMetrics) -> Response:
    return Response(generate_latest(metrics.registry), content_type=CONTENT_TYPE_LATEST)
