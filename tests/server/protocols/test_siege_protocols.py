"""Clients that mean no good, at every route that takes a photo of a real server: refused, and forgotten."""

import base64
import contextlib
import json
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.bodies import json_limit
from server.settings import ServerSettings
from tests.conftest import wait_until
from tests.server.protocols.photos_in import BASE64, OTHERWISE, EveryWay, Sent
from tests.server.protocols.test_hostile_protocols import POSTS
from tests.server.siege import Fortress, photo

pytestmark = pytest.mark.slow

MIB = 1024**2
AT_ONCE = 4
LIMIT = ServerSettings().max_body_bytes
ROUTES = ["/v1/predict", *(path for _, path in POSTS)]
EveryRoute = pytest.mark.parametrize("path", ROUTES)
GONE_AT_ONCE = struct.pack("ii", 1, 0)

HOSTILE = {
    "deep arrays": b"[" * (LIMIT - 100),
    "nested arrays": b'{"images":[' + b"[]," * (LIMIT // 3 - 100) + b"[]]}",
    "a huge number": b'{"n":' + b"9" * 10_000 + b"}",
}


@pytest.fixture(scope="module")
def fortress(toy_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    """Yields a server with the default limits, and looks at the end for what it must not have written."""
    log = tmp_path_factory.mktemp("siege") / "log.txt"
    server = Fortress(toy_bundle, log)
    yield server
    server.close()
    assert "Traceback" not in log.read_text()


def head(path: str, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\nHost: here\r\n{lines}\r\n".encode()


def still_captions(server: Fortress) -> bool:
    """Returns whether others are served as if nothing had been."""
    return server.ask("POST", "/v1/predict", photo())[0] == server.ask("GET", "/readyz")[0] == 200


def memory_mib(server: Fortress) -> float:
    status = Path(f"/proc/{server.worker()}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def test_every_route_that_takes_a_photo_is_asked() -> None:
    assert {*BASE64, *OTHERWISE} == {*ROUTES} - {"/api/show"}


@EveryWay
def test_what_is_asked_is_answered_where_the_photo_is_one(
    fortress: Fortress, path: str, sent: Callable[[str], Sent]
) -> None:
    """Else the other tests would find refusals of something else."""
    headers, body = sent("PHOTO")
    whole = base64.b64encode(photo()) if (path, sent) in BASE64.items() else photo()
    if "Inference-Header-Content-Length" in headers:
        headers, body = sent("x" * len(whole))
        body = body[: -len(whole)] + whole
    assert fortress.ask("POST", path, body.replace(b"PHOTO", whole), headers=headers)[0] == 200


@EveryRoute
def test_a_body_without_end_is_refused_at_its_limit(fortress: Fortress, path: str) -> None:
    with fortress.connect() as client:
        client.sendall(head(path, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}))
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        with contextlib.suppress(ConnectionError):
            for _ in range(2 * json_limit(LIMIT) // 65536):
                client.sendall(chunk)
        answer = client.recv(65536)
    assert answer.partition(b"\r\n")[0].split()[1] in (b"413", b"400"), answer
    assert still_captions(fortress)


@EveryWay
def test_clients_gone_in_the_middle_hold_up_nobody(fortress: Fortress, path: str, sent: Callable[[str], Sent]) -> None:
    headers, body = sent(base64.b64encode(photo()).decode())
    request = head(path, {**headers, "Content-Length": str(len(body))}) + body
    for at in (len(request) // 2, len(request) - 1, len(request)):
        for reads in (0, 1):
            with fortress.connect() as client:
                client.sendall(request[:at])
                if reads and at == len(request):
                    client.recv(16)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, GONE_AT_ONCE)
    assert still_captions(fortress)


def test_memory_is_what_it_was_after_all_at_once(fortress: Fortress) -> None:
    """A few of the largest bodies at a time, at every route."""
    asked = [(path, body) for path in ROUTES for body in HOSTILE.values()]
    headers = {"Content-Type": "application/json"}
    before = memory_mib(fortress)
    peak = 0.0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for status, _, _ in pool.map(lambda one: fortress.ask("POST", one[0], one[1], headers=headers), asked):
            assert status == 400
            peak = max(peak, memory_mib(fortress))
    assert peak < before + AT_ONCE * 3 * json_limit(LIMIT) / MIB, "expected a body, its JSON and its photo at most"
    wait_until(lambda: memory_mib(fortress) < before + 32)
    assert json.loads(fortress.ask("GET", "/livez")[1])["status"] == "alive"
