"""Photos in `s3://`: pyarrow's client against a store of a few lines on 127.0.0.1."""

import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from model.image import MAX_PIXELS
from model.library.photos import read_photo
from model.library.stores import list_stored, read_anywhere
from tests.model.library.conftest import make_photos

pytest.importorskip("pyarrow")

BUCKET = "photos-of-tests"


class Store(ThreadingHTTPServer):
    """Objects by their keys, in one bucket."""

    daemon_threads = True

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects = objects


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def do_HEAD(self) -> None:
        data = self._object()
        self._answer(404 if data is None else 200, {"Content-Length": str(len(data or b""))})

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            body = self._listing(query.get("prefix", [""])[0])
            self._answer(200, {"Content-Length": str(len(body)), "Content-Type": "application/xml"}, body)
            return
        data = self._object() or b""
        first, _, last = self.headers.get("Range", f"bytes=0-{len(data)}").removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last) + 1]
        span = f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"
        self._answer(206, {"Content-Length": str(len(part)), "Content-Range": span}, part)

    def _object(self) -> bytes | None:
        return self.server.objects.get(unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}/"))

    def _listing(self, prefix: str) -> bytes:
        items = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(data)}</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
            for key, data in sorted(self.server.objects.items()) if key.startswith(prefix)
        )  # fmt: skip
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>".encode()

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class names it
        """Keeps quiet."""


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    return make_photos(tmp_path, 1)[0].read_bytes()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, photo: bytes) -> Iterator[Store]:
    """Yields a store on a free port that pyarrow is pointed at, with photos and others in it."""
    names = ("2026/a photo.jpg", "2026/b.jpg", "film.mov", "@eaDir/c.jpg")
    with Store({f"holiday/{name}": photo for name in names} | {"holiday/bad.jpg": b"no photo"}) as server:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_address[1]}", "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("store")
def test_a_bucket_is_listed_and_its_photos_are_read(photo: bytes) -> None:
    found = list_stored(f"s3://{BUCKET}/holiday")
    assert found.failures == []
    beginning = f"s3://{BUCKET}/holiday"
    assert found.photos == [f"{beginning}/2026/a photo.jpg", f"{beginning}/2026/b.jpg", f"{beginning}/bad.jpg"]
    assert found.left_out == {".mov": 1, "folders of thumbnails or trash": 1}
    assert read_anywhere(found.photos[0]) == (photo, None)
    read = [read_photo(path, max_pixels=MAX_PIXELS, read=read_anywhere) for path in found.photos]
    assert [image.width for image in read] == [16, 16, 0]
    assert read[2].error
    gone = read_photo(f"{beginning}/gone.jpg", max_pixels=MAX_PIXELS, read=read_anywhere)
    assert "gone.jpg" in gone.error
