"""The application inside gunicorn: one worker with threads, the captioner loaded in it after the fork."""

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from http import HTTPStatus
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker

from model.captioner import Captioner
from model.errors import BundleError
from server.app import create_app
from server.batching import BatchLimits, InferenceQueue
from server.metrics import Metrics
from server.problems import PROBLEM_TYPE
from server.settings import ServerSettings

_logger = logging.getLogger("server")

_UNREADABLE: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (errors.LimitRequestLine, HTTPStatus.REQUEST_URI_TOO_LONG),
    (errors.LimitRequestHeaders, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    (errors.ExpectationFailed, HTTPStatus.EXPECTATION_FAILED),
    (errors.UnsupportedTransferCoding, HTTPStatus.NOT_IMPLEMENTED),
    (errors.ParseException, HTTPStatus.BAD_REQUEST),
)


_LINGER_SECONDS = 2.0
_LINGER_BLOCK_BYTES = 64 * 1024


class ProblemWorker(ThreadWorker):  # type: ignore[misc]
    """Answers what is no proper HTTP with problem+json too, and says goodbye in the thread of the request.

    gunicorn would answer with a page of HTML. And it would wait for the client to hang up in its main loop, where five
    clients that do not are ten seconds in which nobody is served.
    """

    def handle(self, conn: Any) -> Any:
        """Handles a connection; what this returns decides whether gunicorn keeps it."""
        kept = super().handle(conn)
        if kept is False:
            _linger(conn.sock)
        return kept

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answers a request that never reached the application."""
        status = next((status for kind, status in _UNREADABLE if isinstance(exc, kind)), None)
        if status is None:
            super().handle_error(req, client, addr, exc)
            return
        _logger.info("unreadable request: %d %s", status, type(exc).__name__)
        detail = "expected an HTTP request within this server's limits, received one that cannot be read"
        body = json.dumps({"status": status, "type": "about:blank", "title": status.phrase, "detail": detail}).encode()
        head = (
            f"HTTP/1.1 {status} {status.phrase}\r\nConnection: close\r\n"
            f"Content-Type: {PROBLEM_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            client.sendall(head.encode() + body)
        except OSError:
            _logger.info("the client left before it could be told")


def _linger(client: socket.socket) -> None:
    """Reads on for a moment after the last answer (RFC 9112, 9.6): who closes on a client that sends cuts it off."""
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_WR)
        end = time.monotonic() + _LINGER_SECONDS
        while (remaining := end - time.monotonic()) > 0:
            client.settimeout(remaining)
            if not client.recv(_LINGER_BLOCK_BYTES):
                break
    with contextlib.suppress(OSError):
        # Makes the close that follows in the main loop return at once.
        client.shutdown(socket.SHUT_RDWR)


class GunicornServer(BaseApplication):  # type: ignore[misc]
    """Runs the server until a signal stops it.

    Args:
        settings: The settings.
        listener: A bound socket, which gunicorn takes over.
        on_ready: Called in the worker when requests can be answered.
    """

    def __init__(self, settings: ServerSettings, listener: socket.socket, on_ready: Callable[[], None]) -> None:
        self._settings = settings
        self._on_ready = on_ready
        self._file_descriptor = listener.detach()
        super().__init__()

    def load_config(self) -> None:
        """Sets gunicorn's settings; called by gunicorn."""
        options = {
            "bind": f"fd://{self._file_descriptor}",
            "worker_class": ProblemWorker,
            "workers": 1,
            "threads": self._settings.threads,
            "graceful_timeout": int(self._settings.deadline_seconds) + 5,
            # A thread in the master and a file in the working directory, for a feature that nobody uses here.
            "control_socket_disable": True,
            "loglevel": "warning",
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Builds the application; called by gunicorn in the worker, because TensorFlow does not survive a fork."""
        settings, metrics = self._settings, Metrics()
        limits = BatchLimits(
            max_waiting=settings.max_waiting, max_batch=settings.max_batch, max_wait_seconds=settings.max_wait_seconds
        )
        inference = InferenceQueue(
            lambda: Captioner.load(settings.bundle, engine=settings.engine, precision=settings.precision),
            limits,
            metrics,
        )
        inference.loading.add_done_callback(self._on_loaded)
        inference.start()
        return create_app(settings, inference, metrics)

    def _on_loaded(self, loading: "Future[Captioner]") -> None:
        error = loading.exception()
        if error is None:
            self._on_ready()
            return
        _logger.error("cannot load the bundle: %s", error, exc_info=None if isinstance(error, BundleError) else error)
        # Not sys.exit: this is not the main thread. The code tells the master to stop and not to try again.
        os._exit(Arbiter.WORKER_BOOT_ERROR)
