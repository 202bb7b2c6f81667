"""A real server in a process of its own."""

import contextlib
import http.client
import io
import json
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parent.parent.parent


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "skyblue").save(buffer, "JPEG")
    return buffer.getvalue()


class Running:
    """A server process that answers."""

    def __init__(self, bundle: Path, log: Path, *options: str) -> None:
        command = [sys.executable, "-m", "server.cli", "--port", "0", "--bundle", str(bundle), *options]
        self.log = log
        with log.open("w") as errors:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("Ready: open "), log.read_text()
        self.port = urllib.parse.urlsplit(line.split()[2]).port or 0

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any, float]:
        """Returns status, parsed body and seconds."""
        begun = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            answer = connection.getresponse()
            content = answer.read()
        return answer.status, json.loads(content) if path != "/metrics" else content.decode(), time.monotonic() - begun

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def version(self) -> str:
        return str(self.ask("GET", "/v1/model")[1]["version"])


Start = Callable[..., Running]
"""A function from a bundle and flags to a running server; none outlives the test."""


def children(process_id: int) -> list[int]:
    """Returns the processes that a process has started and that run."""
    return list(map(int, Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()))
