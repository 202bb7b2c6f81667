"""gunicorn's thread worker, with a main loop that no client can block, and a graceful stop."""

import json
import logging
import selectors
import signal
import socket
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Protocol

from gunicorn.workers.gthread import ThreadWorker

from server.access import HEADERS
from server.connections import Connection, Connections
from server.logs import REQUEST_ID, log_request, new_request_id
from server.metrics import OTHER_METHOD, ServerMetrics
from server.parsing import StrictRequest
from server.problems import PROBLEM_TYPE, UNREADABLE, UNTYPED, describe_unreadable, kind_of
from server.settings import ServerSettings
from server.sockets import Turn
from server.traffic import Traffic

_logger = logging.getLogger("server")


class Application(Protocol):
    """The application, as far as the worker needs it.

    Attributes:
        settings: The limits.
        draining: Set when SIGTERM arrives.
        metrics: Counts requests that never reach the application; available once it is loaded.
    """

    settings: ServerSettings
    draining: threading.Event
    metrics: ServerMetrics

    def reload(self) -> None:
        """Begins to load the bundle again, and returns at once."""

    def close(self) -> None:
        """Ends the inference threads."""


PROBES = frozenset({"/livez", "/readyz", "/metrics"})
"""Paths that are answered under any load."""

_MOST_PROBES = 32
_PAGE_THREADS = 2
_FRONT_REQUESTS = 4
_SWITCH_SECONDS = 0.001
_ADMIN_CONNECTIONS = 64
_LOOK_SECONDS = 0.25


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """A worker that serves requests in threads, as gunicorn's own does, with these differences.

    - The main loop reads heads and sends answers (`server/traffic.py`): a connection has a thread only while its
      request is worked on. In gunicorn's it has one while the client sends, and until the client has read the answer.
    - Probes, metrics and pages have threads of their own, because they need not wait for a body.
    - Few requests with a body run at once until they read it: the GIL runs one thread at a time, and a hundred runnable
      threads would each wait a hundred turns.
    - A request that does not arrive within `request_seconds` is answered with 408.
    - Malformed HTTP is answered with problem+json, not with HTML.
    - After SIGTERM it goes on serving for `drain_seconds`, not ready, so that a proxy can notice.
    - When it stops, it accepts waiting connections and refuses later ones. gunicorn's leaves the socket open until the
      last answer, and then cuts off clients that have connected and sent a request meanwhile.
    - SIGHUP loads the bundle again.
    """

    app: "Application"

    def init_process(self) -> None:
        """Creates the threads, then serves until a signal stops it; called by gunicorn."""
        self._probes = {path: ThreadPoolExecutor(1, f"probe {path}") for path in PROBES}
        self._probing = Counter[str]()
        self._pages = ThreadPoolExecutor(_PAGE_THREADS, "page")
        self._admin = ThreadPoolExecutor(1, "admin")
        self._front = threading.Semaphore(_FRONT_REQUESTS)
        # Longest time that a computing thread keeps the GIL while others wait; Python's default is five times as long.
        sys.setswitchinterval(_SWITCH_SECONDS)
        super().init_process()

    def init_signals(self) -> None:
        """Installs the worker's signal handlers; called by gunicorn."""
        # gunicorn resets every handler first: a SIGHUP at that moment would end the worker.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        super().init_signals()
        signal.signal(signal.SIGHUP, lambda *_: self.app.reload())
        signal.siginterrupt(signal.SIGHUP, False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begins to stop: after `drain_seconds`, or at once on a second signal."""
        seconds = self.app.settings.drain_seconds
        if self.app.draining.is_set() or not seconds:
            self.app.draining.set()
            super().handle_exit(sig, frame)
            return
        self.app.draining.set()
        timer = threading.Timer(seconds, super().handle_exit, (sig, frame))
        timer.daemon = True
        timer.start()

    def run(self) -> None:
        """Serves until a signal stops it; called by gunicorn."""
        self.poller.register(self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks)
        self._traffics = [self._traffic(listener, index > 0) for index, listener in enumerate(self.sockets)]
        self._look_at = 0.0
        while self.alive and self.is_parent_alive():
            self._turn()
        for traffic in self._traffics:
            traffic.stop()
        end = time.monotonic() + self.cfg.graceful_timeout
        while any(map(len, self._traffics)) and time.monotonic() < end:
            self._turn()
        for traffic in self._traffics:
            traffic.close_all()
        for pool in (self.tpool, self._pages, self._admin, *self._probes.values()):
            pool.shutdown(wait=False)
        self.app.close()
        self.poller.close()
        self.method_queue.close()

    def begin(self, traffic: Traffic, connection: Connection, request: StrictRequest) -> None:
        """Gives a request to a thread; called in the main loop."""
        pool, path = self._pool_for(traffic, request)
        self._probing[path] += 1

        def end(answered: Future[bool]) -> None:
            self._probing[path] -= 1
            traffic.answered(connection, request, answered.exception() is None and answered.result())

        answer = self._answer_in_turn if pool is self.tpool else self._answer
        future = pool.submit(answer, request, connection)
        future.add_done_callback(lambda answered: self.method_queue.defer(end, answered))

    def refuse(self, connection: Connection, error: Exception) -> None:
        """Writes the answer to something that is no request; called in the main loop."""
        self.handle_error(None, connection.sock, connection.client, error)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answers a request that never reached the application."""
        members = describe_unreadable(exc)
        if members is None:
            super().handle_error(req, client, addr, exc)
            return
        request_id = new_request_id()
        status = HTTPStatus(members["status"])
        log_request({"route": UNREADABLE, "status": status.value, "problem": members["type"]}, request_id)
        reason = UNREADABLE if members["type"] == UNTYPED else kind_of(members["type"])
        self.app.metrics.rejects.labels(reason).inc()
        self.app.metrics.requests.labels(UNREADABLE, OTHER_METHOD, str(status.value)).inc()
        client.sendall(_raw_answer(status, json.dumps(members).encode(), request_id))

    def _traffic(self, listener: socket.socket, is_admin: bool) -> Traffic:
        settings = self.app.settings
        limits = (settings.max_connections, settings.max_connections_per_address)
        connections = Connections(*(_ADMIN_CONNECTIONS,) * 2 if is_admin else limits)
        return Traffic(self, listener, connections, settings.request_seconds, PROBES if is_admin else None)

    def _turn(self) -> None:
        """Handles events, and now and then connections that are late."""
        self.wait_for_and_dispatch_events(timeout=_LOOK_SECONDS)
        if time.monotonic() >= self._look_at:
            self.notify()
            for traffic in self._traffics:
                traffic.look()
            self._look_at = time.monotonic() + _LOOK_SECONDS

    def _pool_for(self, traffic: Traffic, request: StrictRequest) -> tuple[ThreadPoolExecutor, str]:
        """Returns the thread pool for a request, and its path if it is a probe."""
        if traffic.paths is not None:
            return self._admin, ""
        if request.method == "POST" or request.has_body:
            return self.tpool, ""
        # Beyond a number of probes at once, the rest are handled like pages.
        if request.path in PROBES and self._probing[request.path] < _MOST_PROBES:
            return self._probes[request.path], request.path
        return self._pages, ""

    def _answer_in_turn(self, request: StrictRequest, connection: Connection) -> bool:
        """Makes an answer once one of few places is free, which is held until the body is read."""
        turn = Turn(self._front)
        connection.sock.turn = turn
        request.body.on_read = turn.end
        try:
            return self._answer(request, connection)
        finally:
            turn.end()

    def _answer(self, request: StrictRequest, connection: Connection) -> bool:
        """Makes an answer in a thread, and begins to send it; returns whether another request may follow."""
        sock = connection.sock
        settings = self.app.settings
        sock.allow(settings.request_seconds, settings.max_body_bytes)
        sock.has_whole_request = request.has_small_body
        try:
            stays = self.handle_request(request, connection) and not sock.has_expired
            sock.flush()
        except OSError:
            _logger.info("the client closed the connection before it was answered")
            sock.unsent.clear()
            return False
        except Exception as error:  # noqa: BLE001 - an answer and a line in the log, as for any other
            self.handle_error(request, sock, connection.client, error)
            return False
        return bool(stays)


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
