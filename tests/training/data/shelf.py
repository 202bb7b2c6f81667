"""A real server on 127.0.0.1 that breaks off, lies and changes its mind, and the files that it serves."""

import io
import re
import stat
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np

BODY = np.random.default_rng(5).bytes(400_000)


@dataclass
class Shelf:
    """Files that a server serves, how it fails next, and what it was asked.

    Attributes:
        url: Address of the server.
        files: Bodies by path.
        faults: What goes wrong with the next requests, in order; then all goes well.
        asked: The `Range` and `If-Range` headers and the status of each answer.
        headers: Version headers of every answer.
        ranges: Whether a part can be asked for.
        over: Set when the test is over, to let go of whoever was left hanging.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    asked: list[tuple[str | None, str | None, int]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    ranges: bool = True
    over: threading.Event = field(default_factory=threading.Event)

    def statuses(self) -> list[int]:
        return [status for _, _, status in self.asked]


class Handler(BaseHTTPRequestHandler):
    shelf: Shelf

    def log_message(self, *_: Any) -> None:
        """Writes nothing."""

    def do_GET(self) -> None:
        fault = self.shelf.faults.pop(0) if self.shelf.faults else ""
        body = self.shelf.files.get(self.path)
        if fault == "hang":
            self.shelf.over.wait(30)
        elif fault.isdigit() or body is None:
            self.answer(int(fault or 404), b"", {})
        else:
            self.give(body, fault)

    def give(self, body: bytes, fault: str) -> None:
        part = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        condition = self.headers["If-Range"]
        unchanged = condition is None or condition in self.shelf.headers.values()
        if part is None or not self.shelf.ranges or not unchanged:
            self.answer(200, body, self.shelf.headers, fault)
        elif int(part[1]) >= len(body):
            self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        else:
            start = int(part[1]) + (7 if fault == "other part" else 0)
            where = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
            self.answer(206, body[start:], self.shelf.headers | where, fault)

    def answer(self, status: int, body: bytes, headers: dict[str, str], fault: str = "") -> None:
        self.shelf.asked.append((self.headers["Range"], self.headers["If-Range"], status))
        self.send_response(status)
        announced = {"longer": len(body) + 1000, "shorter": len(body) - 1000, "huge": 10**18}.get(fault, len(body))
        for name, value in ({"Content-Length": str(announced)} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "drop" else b"" if fault == "nothing" else body)


def zipped(files: dict[str, bytes], **modes: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = modes.get(name, stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def tarred(*members: tuple[str, bytes, str], mode: Any = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = (tarfile.SYMTYPE, link) if link else (tarfile.REGTYPE, "")
            info.size = 0 if link else len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
