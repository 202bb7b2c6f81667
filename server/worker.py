"""gunicorn's thread worker, made patient with slow clients up to a limit, and polite when it stops."""

import contextlib
import json
import logging
import selectors
import signal
import socket
import threading
import time
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker

from server.access import HEADERS
from server.errors import SlowClientError
from server.logs import REQUEST_ID, log_request, new_request_id
from server.metrics import OTHER_METHOD, Metrics
from server.problems import PROBLEM_TYPE, UNREADABLE, UNTYPED, describe, kind_of
from server.sockets import PatientSocket

_logger = logging.getLogger("server")


class Application(Protocol):
    """Is what the worker needs to know of the application that it serves.

    Attributes:
        request_seconds: Time for a request to arrive.
        drain_seconds: Time during which requests are still served after SIGTERM.
        draining: Set as soon as SIGTERM has come.
        metrics: Counts what never reaches the application.
    """

    request_seconds: float
    drain_seconds: float
    draining: threading.Event
    metrics: Metrics

    def reload(self) -> None:
        """Loads the bundle again; returns at once."""


UNREADABLE_STATUS: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (errors.LimitRequestLine, HTTPStatus.REQUEST_URI_TOO_LONG),
    (errors.LimitRequestHeaders, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    (errors.ExpectationFailed, HTTPStatus.EXPECTATION_FAILED),
    (errors.UnsupportedTransferCoding, HTTPStatus.NOT_IMPLEMENTED),
    (errors.ParseException, HTTPStatus.BAD_REQUEST),
    (SlowClientError, HTTPStatus.REQUEST_TIMEOUT),
)
"""What may keep a request from the application, and how it is answered then."""

_LINGER_SECONDS = 2.0
_LINGER_BLOCK_BYTES = 64 * 1024


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """Serves requests in threads, as gunicorn's own worker does, with these differences.

    - A connection takes a thread only once it has sent something: gunicorn's holds one for five seconds.
    - A request has `request_seconds` to arrive; then it is answered with 408.
    - What is no proper HTTP is answered with problem+json, not with a page of HTML.
    - The last goodbye is said in the thread of the request: in the main loop, five clients that do not hang up are ten
      seconds in which nobody is served.
    - After SIGTERM it goes on serving for `drain_seconds`, not ready, so that a proxy has time to notice.
    - When it stops, it takes what waits to be accepted and refuses what comes later: gunicorn's leaves the socket open
      until the last answer is given, and cuts off who has connected meanwhile and sent a request.
    - SIGHUP loads the bundle again.
    """

    app: "Application"

    def init_signals(self) -> None:
        """Sets what signals do in the worker; called by gunicorn."""
        super().init_signals()
        signal.signal(signal.SIGHUP, lambda *_: self.app.reload())
        signal.siginterrupt(signal.SIGHUP, False)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begins to stop: at once, or when the time to drain is over."""
        if self.app.draining.is_set() or not self.app.drain_seconds:
            self.app.draining.set()
            super().handle_exit(sig, frame)
            return
        self.app.draining.set()
        timer = threading.Timer(self.app.drain_seconds, super().handle_exit, (sig, frame))
        timer.daemon = True
        timer.start()

    def set_accept_enabled(self, enabled: bool) -> None:
        """Begins or ends to accept connections; called in the main loop."""
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for listener in self.sockets:
            accepted = -1
            while accepted < self.nr_conns:
                accepted = self.nr_conns
                self.accept(listener)
            # The master has closed its copy by now, so this is the end of the address.
            listener.close()

    def enqueue_req(self, conn: Any) -> None:
        """Gives a connection to a thread, or waits for its first bytes without one; called in the main loop."""
        if conn.initialized or conn.data_ready:
            super().enqueue_req(conn)
            return
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + self.app.request_seconds
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def handle(self, conn: Any) -> Any:
        """Handles a connection; what this returns decides whether gunicorn keeps it."""
        conn.sock = PatientSocket.taking_over(conn.sock)
        conn.sock.deadline = time.monotonic() + self.app.request_seconds
        kept = super().handle(conn)
        conn.sock.deadline = None
        if kept is False:
            _linger(conn.sock)
        return kept

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answers a request; what this returns says whether another may follow on the connection."""
        return super().handle_request(req, conn) and not conn.sock.has_expired

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answers a request that never reached the application."""
        status = next((status for kind, status in UNREADABLE_STATUS if isinstance(exc, kind)), None)
        if status is None:
            super().handle_error(req, client, addr, exc)
            return
        request_id = new_request_id()
        reason = UNREADABLE
        if isinstance(exc, SlowClientError):
            members = describe(exc)
            reason = kind_of(members["type"])
        else:
            detail = "expected an HTTP request within this server's limits, received one that cannot be read"
            members = {"status": status, "type": UNTYPED, "title": status.phrase, "detail": detail}
        log_request({"route": UNREADABLE, "status": status.value, "problem": members["type"]}, request_id)
        self.app.metrics.rejects.labels(reason).inc()
        self.app.metrics.requests.labels(UNREADABLE, OTHER_METHOD, str(status.value)).inc()
        try:
            client.sendall(_raw_answer(status, json.dumps(members).encode(), request_id))
        except OSError:
            _logger.info("the client left before it could be told")


def _raw_answer(status: HTTPStatus, body: bytes, request_id: str) -> bytes:
    headers = [
        ("Connection", "close"),
        ("Content-Type", PROBLEM_TYPE),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        (REQUEST_ID, request_id),
        *HEADERS,
    ]
    lines = [f"HTTP/1.1 {status} {status.phrase}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


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
