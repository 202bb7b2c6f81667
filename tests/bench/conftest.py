"""A tiny captioner's engine and a tiny HTTP server."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from model.bundle import Bundle
from model.engines.tensorflow import TensorFlowEngine


@pytest.fixture(scope="session")
def reference(toy: Bundle) -> TensorFlowEngine:
    """Returns the engine that peers are held to."""
    return TensorFlowEngine.of(toy)


class CountingServer(ThreadingHTTPServer):
    """Answers every POST by its count: each third one is refused, each fifth one closes the connection."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.bodies: list[bytes] = []
        self.connections = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CountingServer

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.bodies.append(body)
            count = len(self.server.bodies)
        self.send_response(503 if count % 3 == 0 else 200)
        if count % 3 == 0:
            self.send_header("Retry-After", "0")
        if count % 5 == 0:
            self.send_header("Connection", "close")
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class names it
        """Keeps quiet."""


@pytest.fixture
def counting_server() -> Iterator[CountingServer]:
    """Yields a server that runs in threads of the test."""
    with CountingServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
