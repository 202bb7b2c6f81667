"""The application factory: endpoints, demo page, problems, headers and the access log."""

import logging
import threading
import time
import urllib.parse
from pathlib import Path

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from server.api import Api
from server.batching import InferenceQueue
from server.metrics import Metrics
from server.problems import register_problems
from server.settings import ServerSettings

STATIC = Path(__file__).parent.parent / "static"
"""The demo page's files: beside this package in the repository, and in a wheel too."""

HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
"""Headers of every response."""

_access_logger = logging.getLogger("server.access")


def create_app(
    settings: ServerSettings, inference: InferenceQueue, metrics: Metrics, draining: threading.Event
) -> Flask:
    """Builds the WSGI application.

    Args:
        settings: The limits.
        inference: Where images are captioned; may still be loading.
        metrics: What `/metrics` shows.
        draining: Set when the server is about to stop.

    Returns:
        The application.
    """
    app = Flask("server", static_folder=STATIC, static_url_path="/static")
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.before_request(_start_clock)
    app.after_request(_finish)
    register_problems(app)
    app.add_url_rule("/", "index", lambda: app.send_static_file("index.html"))
    app.add_url_rule("/metrics", "metrics", lambda: _metrics(metrics))
    Api(settings, inference, draining).register(app)
    return app


def _metrics(metrics: Metrics) -> Response:
    return Response(generate_latest(metrics.registry), content_type=CONTENT_TYPE_LATEST)


def _start_clock() -> None:
    g.started = time.monotonic()


def _finish(response: Response) -> Response:
    for name, value in HEADERS:
        response.headers[name] = value
    # Static files bring "no-cache" and an ETag: kept, but asked for again. Answers are not to be kept at all.
    response.headers.setdefault("Cache-Control", "no-store")
    # Quoted, so that a path cannot break the log line; without the query, and never anything of the body.
    path = urllib.parse.quote(request.path)
    milliseconds = (time.monotonic() - g.started) * 1000
    _access_logger.info("%s %s %d %.1f ms", request.method, path, response.status_code, milliseconds)
    return response
