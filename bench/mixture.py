"""The request mixture of a soak: good, bad, slow and aborted requests as bytes, with their allowed answers."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from bench import hostile
from bench.load import HOST, prepared_request
from bench.photos import photo

PREDICT = "/v1/predict"
WIDEST = "?beam_size=10&classes=20"
PHOTOS = 8
BOUNDARY = "mixture"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of request.

    Attributes:
        name: Name in reports.
        requests: The requests, taken in turn; each is a list of pieces that are sent one after the other.
        weight: How often it comes, relative to the others.
        statuses: Allowed statuses; with none the client hangs up after the last piece.
        pause_seconds: Time between two pieces.
        stay_seconds: Time that such a client waits before it hangs up, reading nothing.
        copies: Number sent at once.
    """

    name: str
    requests: Sequence[Sequence[bytes]]
    weight: int
    statuses: frozenset[int]
    pause_seconds: float = 0.0
    stay_seconds: float = 0.0
    copies: int = 1


def mixture() -> list[Kind]:
    """Makes the requests of every kind; the large pictures take a few seconds."""
    photos = [photo(seed) for seed in range(PHOTOS)]
    posts = [prepared_request(PREDICT, data) for data in photos]
    large = [prepared_request(PREDICT, _picture("RGB", (8000, 6250), "PNG"))]
    sixteen = form([photos[index % PHOTOS] for index in range(16)])
    halves = [_pieces(post, 2)[:1] for post in posts]
    good = frozenset({200})
    unanswered = frozenset[int]()
    return [
        Kind(name="photo", requests=_whole(posts), weight=400, statuses=good),
        Kind(name="photo in a form", requests=_whole([form([data]) for data in photos]), weight=100, statuses=good),
        Kind(name="widest beam", requests=_whole([_post(WIDEST, photos[0])]), weight=40, statuses=good),
        Kind(name="sixteen photos", requests=_whole([sixteen]), weight=10, statuses=good),
        Kind(name="50 megapixels", requests=_whole(large), weight=8, statuses=good),
        Kind(name="good and bad in a form", requests=_whole([form([photos[0], b"text"])]), weight=40, statuses=good),
        Kind(name="crowd", requests=_whole(posts), weight=3, statuses=good, copies=100),
        Kind(name="alive", requests=_whole([_get("/livez")]), weight=60, statuses=good),
        Kind(name="ready", requests=_whole([_get("/readyz")]), weight=40, statuses=good),
        Kind(name="metrics and page", requests=_whole([_get("/metrics"), _get("/")]), weight=20, statuses=good),
        *_bad(photos),
        Kind(name="slow", requests=[_pieces(post, 6) for post in posts], weight=30, statuses=good, pause_seconds=0.5),
        Kind(name="too slow", requests=[_pieces(posts[0], 4)], weight=8, statuses=frozenset({408}), pause_seconds=4.0),
        Kind(name="hangs up half-way", requests=halves, weight=30, statuses=unanswered),
        Kind(name="hangs up before the answer", requests=_whole([*posts, *large]), weight=30, statuses=unanswered),
        *_attackers(),
    ]  # fmt: skip


def form(images: Sequence[bytes]) -> bytes:
    """Returns the bytes of a POST with a multipart form of images."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'.encode()
    body = b"".join(head + image + b"\r\n" for image in images) + f"--{BOUNDARY}--\r\n".encode()
    return _post("", body, f"multipart/form-data; boundary={BOUNDARY}")


def _bad(photos: Sequence[bytes]) -> list[Kind]:
    data = photos[0]
    requests = {
        400: [
            _post("?beam_size=lots", data),
            _post("", b""),
            form([]),
            form([data] * 17),
            form([data])[:-40] + bytes(40),
            b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        ],
        404: [_get("/v1/../../etc/passwd"), _get("/nothing")],
        405: [_get(PREDICT)],
        413: [_post("", _picture("1", (8000, 6251), "PNG")), _post("", bytes(10 * 1024**2 + 1))],
        415: [_post("", b"neither a JPEG nor a PNG"), _post("", b"<svg/>"), form([b""])],
        422: [_post("", data[: len(data) * share // 10]) for share in (1, 5, 9)],
    }
    return [
        Kind(name=f"bad, {status}", requests=_whole(items), weight=30, statuses=frozenset({status}))
        for status, items in requests.items()
    ]


def _attackers() -> list[Kind]:
    """Returns clients that attack the server."""
    unanswered = frozenset[int]()
    undecodable = frozenset({413, 422})
    refused = [_post("", make()) for make in hostile.REFUSED.values()]
    borne = [_post("", make()) for make in hostile.BORNE.values()]
    pipeline = [[_get("/docs") * 200]]
    trickle = [_pieces(_post("", bytes(1000)), 50)]
    return [
        Kind(name="hostile, refused", requests=_whole(refused), weight=20, statuses=undecodable),
        Kind(name="hostile, decoded", requests=_whole(borne), weight=4, statuses=undecodable | {200}),
        Kind(name="asks and never reads", requests=pipeline, weight=1, statuses=unanswered, stay_seconds=20, copies=20),
        Kind(name="says nothing", requests=[[]], weight=1, statuses=unanswered, stay_seconds=20, copies=20),
        Kind(name="trickles", requests=trickle, weight=1, statuses=unanswered, pause_seconds=0.3, copies=10),
    ]  # fmt: skip


def _post(query: str, body: bytes, content_type: str = "application/octet-stream") -> bytes:
    head = f"POST {PREDICT}{query} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def _whole(requests: Sequence[bytes]) -> list[list[bytes]]:
    return [[request] for request in requests]


def _pieces(request: bytes, count: int) -> list[bytes]:
    size = -(-len(request) // count)
    return [request[start : start + size] for start in range(0, len(request), size)]


def _picture(mode: str, size: tuple[int, int], name: str) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, name, compress_level=1)
    return buffer.getvalue()
