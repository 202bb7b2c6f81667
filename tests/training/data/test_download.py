"""Downloads against a real server on 127.0.0.1 that breaks off, lies and changes its mind; archives that mean harm."""

import hashlib
import io
import re
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from model.errors import DataError
from training.data.archives import unpack
from training.data.captioned import read_coco, read_flickr8k
from training.data.download import ATTEMPTS, download
from training.data.public import SOURCES, Source, fetch

BODY = np.random.default_rng(5).bytes(400_000)
SHA256 = "sha256:" + hashlib.sha256(BODY).hexdigest()


@dataclass
class Shelf:
    """Holds what the server serves, how it fails next, and what it was asked.

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
        """Says nothing."""

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


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    shelf = Shelf(files={"/file": BODY})
    with ThreadingHTTPServer(("127.0.0.1", 0), type("OurHandler", (Handler,), {"shelf": shelf})) as server:
        shelf.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield shelf
        shelf.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "file.bin"


def get(shelf: Shelf, target: Path, checksum: str | None = SHA256, timeout_seconds: float = 20.0) -> None:
    download(f"{shelf.url}/file", target, checksum=checksum, timeout_seconds=timeout_seconds, backoff_seconds=0.0)


def interrupted(shelf: Shelf, target: Path, checksum: str | None = SHA256) -> int:
    """Leaves a download half-way, as a network that goes away for good would; returns the bytes that arrived."""
    shelf.faults = ["drop", *["nothing"] * ATTEMPTS]
    with pytest.raises(DataError, match="call the command again"):
        get(shelf, target, checksum)
    assert not target.exists()
    shelf.faults.clear()
    shelf.asked.clear()
    return (target.parent / "file.bin.partial").stat().st_size


def left_beside(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


@pytest.mark.parametrize("checksum", [SHA256, SHA256.upper().replace("SHA", "sha"), None])
def test_a_file_arrives_whole_and_alone(shelf: Shelf, target: Path, checksum: str | None) -> None:
    get(shelf, target, checksum)
    assert target.read_bytes() == BODY
    assert left_beside(target) == ["file.bin"]


def test_md5_is_understood_and_another_algorithm_is_named(shelf: Shelf, target: Path) -> None:
    get(shelf, target, "md5:" + hashlib.md5(BODY, usedforsecurity=False).hexdigest())
    with pytest.raises(DataError, match=r"sha256, md5.*received 'crc32:00'"):
        get(shelf, target, "crc32:00")


@pytest.mark.parametrize("checksum", [SHA256, None])
def test_what_is_there_is_not_fetched_again(shelf: Shelf, target: Path, checksum: str | None) -> None:
    get(shelf, target, checksum)
    get(shelf, target, checksum)
    assert shelf.statuses() == [200]


def test_a_file_with_another_checksum_is_replaced(shelf: Shelf, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    get(shelf, target)
    assert target.read_bytes() == BODY


def test_a_dropped_connection_goes_on_where_it_broke_off(shelf: Shelf, target: Path) -> None:
    shelf.faults = ["drop", "drop"]
    get(shelf, target)
    assert target.read_bytes() == BODY
    assert shelf.statuses() == [200, 206, 206]
    assert all(condition == '"one"' for _, condition, _ in shelf.asked[1:])


def test_a_later_call_goes_on_with_what_an_earlier_one_received(shelf: Shelf, target: Path) -> None:
    done = interrupted(shelf, target)
    assert len(BODY) // 4 < done < len(BODY)
    get(shelf, target)
    assert shelf.asked == [(f"bytes={done}-", '"one"', 206)]
    assert target.read_bytes() == BODY
    assert left_beside(target) == ["file.bin"]


def test_more_drops_than_attempts_do_no_harm_while_each_brings_something(shelf: Shelf, target: Path) -> None:
    shelf.files["/file"] = body = BODY * 20
    shelf.faults = ["drop"] * (ATTEMPTS + 1)
    get(shelf, target, "sha256:" + hashlib.sha256(body).hexdigest())
    assert len(shelf.asked) == ATTEMPTS + 2


def test_a_server_without_ranges_starts_over(shelf: Shelf, target: Path) -> None:
    interrupted(shelf, target)
    shelf.ranges = False
    get(shelf, target)
    assert shelf.statuses() == [200]
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("header", ["ETag", "Last-Modified"])
def test_parts_of_two_versions_are_not_glued_together(shelf: Shelf, target: Path, header: str) -> None:
    shelf.headers = {header: '"one"' if header == "ETag" else "Mon, 01 Jan 2018 00:00:00 GMT"}
    interrupted(shelf, target, None)
    shelf.headers = {header: '"two"' if header == "ETag" else "Tue, 02 Jan 2018 00:00:00 GMT"}
    shelf.files["/file"] = BODY[::-1]
    get(shelf, target, None)
    assert shelf.statuses() == [200]
    assert target.read_bytes() == BODY[::-1]


def test_a_server_that_ignores_the_condition_is_found_out_by_its_etag(shelf: Shelf, target: Path) -> None:
    interrupted(shelf, target, None)
    shelf.headers = {"ETag": '"two"', "X-Taken-For-Unchanged": '"one"'}
    shelf.files["/file"] = BODY[::-1]
    get(shelf, target, None)
    assert shelf.statuses() == [206, 200]
    assert target.read_bytes() == BODY[::-1]


@pytest.mark.parametrize(("headers", "checksum", "status"), [
    ({}, SHA256, 206), ({}, None, 200), ({"ETag": 'W/"weak"'}, None, 200), ({"ETag": 'W/"weak"'}, SHA256, 206),
])  # fmt: skip
def test_without_a_version_a_download_goes_on_where_a_checksum_guards_it(
    shelf: Shelf, target: Path, headers: dict[str, str], checksum: str | None, status: int
) -> None:
    shelf.headers = headers
    interrupted(shelf, target, checksum)
    get(shelf, target, checksum)
    assert [(condition, code) for _, condition, code in shelf.asked] == [(None, status)]
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("about", [None, "", "{", "[]", '{"url": "http://elsewhere/file", "validator": "\\"one\\""}'])
def test_a_partial_file_of_unknown_origin_is_not_built_on(shelf: Shelf, target: Path, about: str | None) -> None:
    interrupted(shelf, target)
    note = target.parent / "file.bin.partial.json"
    note.unlink() if about is None else note.write_text(about)
    get(shelf, target)
    assert shelf.asked == [(None, None, 200)]


def test_a_wrong_part_starts_over(shelf: Shelf, target: Path) -> None:
    interrupted(shelf, target)
    shelf.faults = ["other part"]
    get(shelf, target)
    assert shelf.statuses() == [206, 200]
    assert target.read_bytes() == BODY


def test_a_download_cut_off_before_its_last_step_needs_no_byte_more(shelf: Shelf, target: Path) -> None:
    interrupted(shelf, target)
    (target.parent / "file.bin.partial").write_bytes(BODY)
    get(shelf, target)
    assert shelf.statuses() == [416]
    assert target.read_bytes() == BODY


def test_more_bytes_than_the_server_has_start_over(shelf: Shelf, target: Path) -> None:
    interrupted(shelf, target)
    (target.parent / "file.bin.partial").write_bytes(BODY + b"more")
    get(shelf, target)
    assert shelf.statuses() == [416, 200]
    assert target.read_bytes() == BODY


def test_a_length_announced_too_long_is_settled_by_asking_for_the_rest(shelf: Shelf, target: Path) -> None:
    shelf.faults = ["longer"]
    get(shelf, target)
    assert shelf.statuses()[0] == 200
    assert target.read_bytes() == BODY


def test_a_length_announced_too_short_is_found_by_the_checksum(shelf: Shelf, target: Path) -> None:
    shelf.faults = ["shorter"]
    with pytest.raises(DataError, match=SHA256):
        get(shelf, target)


def test_wrong_bytes_are_removed_and_both_checksums_named(shelf: Shelf, target: Path) -> None:
    shelf.files["/file"] = BODY[::-1]
    other = hashlib.sha256(BODY[::-1]).hexdigest()
    with pytest.raises(DataError, match=f"expected .*{SHA256}, received sha256:{other}; removed"):
        get(shelf, target)
    assert left_beside(target) == []


def test_a_missing_file_is_an_error_at_once(shelf: Shelf, target: Path) -> None:
    del shelf.files["/file"]
    with pytest.raises(DataError, match="received 404 Not Found; check the address"):
        get(shelf, target)
    assert shelf.statuses() == [404]


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_server_in_trouble_is_asked_again(shelf: Shelf, target: Path, status: int) -> None:
    shelf.faults = [str(status)] * (ATTEMPTS - 1)
    get(shelf, target)
    assert shelf.statuses() == [status] * (ATTEMPTS - 1) + [200]


def test_a_server_in_lasting_trouble_is_given_up(shelf: Shelf, target: Path) -> None:
    shelf.faults = ["500"] * (ATTEMPTS + 1)
    with pytest.raises(DataError, match=r"500 Internal Server Error.*call the command again"):
        get(shelf, target)
    assert len(shelf.asked) == ATTEMPTS


def test_a_silent_server_is_given_up(shelf: Shelf, target: Path) -> None:
    shelf.faults = ["hang"] * ATTEMPTS
    with pytest.raises(DataError, match=r"timed out.*check the network"):
        get(shelf, target, timeout_seconds=0.05)


def test_no_server_and_no_address_are_errors(target: Path) -> None:
    with pytest.raises(DataError, match="check the network"):
        download("http://127.0.0.1:9/file", target, checksum=None, backoff_seconds=0.0)
    with pytest.raises(DataError, match="expected an http address"):
        download("file:///etc/hostname", target, checksum=None)


def test_a_file_larger_than_the_disk_is_not_begun(shelf: Shelf, target: Path) -> None:
    shelf.faults = ["huge"]
    with pytest.raises(DataError, match=f"expected {10**18} bytes free in .*, found"):
        get(shelf, target)


def test_a_disk_that_fills_up_is_told(shelf: Shelf, target: Path) -> None:
    target.parent.mkdir()
    (target.parent / "file.bin.partial").symlink_to("/dev/full")
    (target.parent / "file.bin.partial.json").write_text(f'{{"url": "{shelf.url}/file", "validator": "x"}}')
    with pytest.raises(DataError, match=r"No space left on device.*call the command again"):
        get(shelf, target)


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


@pytest.mark.parametrize("content", [
    zipped({"top/a/b.txt": b"b", "top/c.txt": b"c", "__MACOSX/._c.txt": b"x"}),
    tarred(("top/a/b.txt", b"b", ""), ("top/c.txt", b"c", "")),
    tarred(("top/a/b.txt", b"b", ""), ("top/c.txt", b"c", ""), mode="w"),
], ids=["zip", "tar.gz", "tar"])  # fmt: skip
def test_archives_are_unpacked_with_or_without_their_top_folder(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(content)
    unpack(archive, tmp_path / "whole")
    assert tree(tmp_path / "whole") == {"top/a/b.txt": b"b", "top/c.txt": b"c"}
    unpack(archive, tmp_path / "stripped", top="top")
    assert tree(tmp_path / "stripped") == {"a/b.txt": b"b", "c.txt": b"c"}


HOSTILE = {
    "zip_parent": zipped({"good.txt": b"", "../evil.txt": b""}),
    "zip_absolute": zipped({"good.txt": b"", "/tmp/evil.txt": b""}),  # noqa: S108
    "zip_backslash": zipped({"good.txt": b"", "..\\evil.txt": b""}),
    "zip_link": zipped({"good.txt": b"", "evil": b"/etc"}, evil=stat.S_IFLNK | 0o777),
    "tar_parent": tarred(("good.txt", b"", ""), ("a/../../evil.txt", b"", "")),
    "tar_absolute": tarred(("good.txt", b"", ""), ("/tmp/evil.txt", b"", "")),  # noqa: S108
    "tar_link": tarred(("good.txt", b"", ""), ("evil", b"", "/etc"), ("evil/passwd", b"", "")),
    "tar_inner_link": tarred(("good.txt", b"", ""), ("evil", b"", "good.txt")),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_an_archive_that_reaches_out_of_its_folder_is_refused_whole(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"stay inside.*evil"):
        unpack(archive, tmp_path / "data")
    assert tree(tmp_path) == {"archive": content}
    assert list((tmp_path / "data").iterdir()) == []


def understated() -> bytes:
    """Returns a zip whose one member is larger than it says."""
    content = bytearray(zipped({"a.txt": bytes(1000)}))
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (10).to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize("content", [
    b"", b"no archive", zipped({"a.txt": bytes(1000)})[:-30], tarred(("a.txt", BODY, ""))[:-2000],
    zipped({"a.txt": b"unpacked"}).replace(b"\x08\x00", b"\x63\x00"), understated(),
], ids=["empty", "text", "cut_zip", "cut_tar", "unknown_method", "understated"])  # fmt: skip
def test_a_damaged_archive_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(content)
    with pytest.raises(DataError, match="archive"):
        unpack(archive, tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_an_archive_larger_than_the_disk_is_not_unpacked(tmp_path: Path) -> None:
    info = tarfile.TarInfo("huge")
    info.size = 10**17
    archive = tmp_path / "huge.tar"
    archive.write_bytes(info.tobuf(tarfile.PAX_FORMAT))
    with pytest.raises(DataError, match="huge"):
        unpack(archive, tmp_path / "data")


def test_what_a_killed_unpacking_left_is_cleared_and_whole_entries_are_kept(tmp_path: Path) -> None:
    archive, data = tmp_path / "x.zip", tmp_path / "data"
    archive.write_bytes(zipped({"a.txt": b"new", "b.txt": b"b"}))
    (data / ".x.zip.unpacking").mkdir(parents=True)
    (data / ".x.zip.unpacking" / "c.txt").write_bytes(b"half")
    (data / "a.txt").write_bytes(b"kept")
    unpack(archive, data)
    assert tree(data) == {"a.txt": b"kept", "b.txt": b"b"}


CONTENTS = {
    "tiny-imagenet-200.zip": zipped({
        "tiny-imagenet-200/wnids.txt": b"n01443537\n", "tiny-imagenet-200/words.txt": b"n01443537\tgoldfish\n",
        "tiny-imagenet-200/train/n01443537/images/n01443537_0.JPEG": b"", "tiny-imagenet-200/test/images/t.JPEG": b"",
        "tiny-imagenet-200/val/val_annotations.txt": b"val_0.JPEG\tn01443537\t0\t32\t44\t62\n",
    }),
    "train2017.zip": zipped({"train2017/1.jpg": b""}),
    "val2017.zip": zipped({"val2017/2.jpg": b""}),
    "annotations_trainval2017.zip": zipped({
        f"annotations/captions_{split}2017.json": (
            b'{"images": [{"id": %d, "file_name": "%d.jpg"}], "annotations": [{"image_id": %d, "caption": "a dog"}]}'
            % (number, number, number)
        )
        for number, split in ((1, "train"), (2, "val"))
    }),
    "Flickr8k_text.zip": zipped({
        "Flickr8k.token.txt": b"1.jpg#0\tA dog .\n2.jpg#0\tA cat .\n", "Flickr_8k.trainImages.txt": b"1.jpg\n",
        "Flickr_8k.devImages.txt": b"2.jpg\n", "__MACOSX/._readme.txt": b"",
    }),
    "Flickr8k_Dataset.zip": zipped({"Flicker8k_Dataset/1.jpg": b"", "Flicker8k_Dataset/2.jpg": b""}),
    "mnist.npz": BODY,
}  # fmt: skip
"""Files laid out like the public ones, by name."""


def local(shelf: Shelf) -> MappingProxyType[str, tuple[Source, ...]]:
    """Puts the files on the shelf and returns the table with its addresses and checksums replaced."""
    shelf.files = {f"/{name}": content for name, content in CONTENTS.items()}

    def moved(source: Source) -> Source:
        name = source.url.rpartition("/")[2]
        checksum = "sha256:" + hashlib.sha256(CONTENTS[name]).hexdigest()
        return replace(source, url=f"{shelf.url}/{name}", checksum=checksum)

    return MappingProxyType({name: tuple(map(moved, sources)) for name, sources in SOURCES.items()})


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_data_set_is_fetched_once_and_no_archive_stays(shelf: Shelf, tmp_path: Path, name: str) -> None:
    sources = local(shelf)
    fetch(name, tmp_path / "data", sources=sources)
    there = tree(tmp_path / "data")
    assert shelf.statuses() == [200] * len(sources[name])
    assert not [path for path in there if path.endswith(".zip") or "MACOSX" in path]
    fetch(name, tmp_path / "data", sources=sources)
    assert tree(tmp_path / "data") == there
    assert len(shelf.asked) == len(sources[name])


def test_fetched_data_sets_lie_as_their_readers_expect(shelf: Shelf, tmp_path: Path) -> None:
    sources = local(shelf)
    for name in sources:
        fetch(name, tmp_path / name, sources=sources)
    for found in (read_flickr8k(tmp_path / "flickr8k"), read_coco(tmp_path / "coco")):
        assert sorted((image.split, image.path.is_file()) for image in found) == [("dev", True), ("train", True)]
    assert {path.name for path in (tmp_path / "tiny-imagenet").iterdir()} >= {"train", "val", "wnids.txt", "words.txt"}
    assert (tmp_path / "mnist" / "mnist.npz").read_bytes() == BODY


def test_photos_under_another_name_that_the_reader_knows_are_not_fetched(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    fetch("flickr8k", tmp_path, sources=local(shelf))
    assert len(shelf.asked) == 1
    assert not (tmp_path / "Flicker8k_Dataset").exists()


def test_fetching_goes_on_after_a_kill_between_two_moves(shelf: Shelf, tmp_path: Path) -> None:
    sources = local(shelf)
    (tmp_path / "tiny-imagenet-200.zip").write_bytes(CONTENTS["tiny-imagenet-200.zip"])
    (tmp_path / "wnids.txt").write_bytes(b"n01443537\n")
    fetch("tiny-imagenet", tmp_path, sources=sources)
    assert shelf.asked == []
    assert (tmp_path / "val").is_dir()


def test_an_archive_that_lacks_what_it_should_give_is_an_error(shelf: Shelf, tmp_path: Path) -> None:
    sources = dict(local(shelf))
    sources["coco"] = (replace(sources["coco"][0], gives=("captions",)),)
    with pytest.raises(DataError, match="expected it to hold captions"):
        fetch("coco", tmp_path, sources=sources)


def test_an_unknown_data_set_is_told_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tiny-imagenet, coco, flickr8k, mnist, received 'imagenet'"):
        fetch("imagenet", tmp_path)


def test_every_public_file_has_a_checksum() -> None:
    checksums = [source.checksum for sources in SOURCES.values() for source in sources]
    assert all(checksum and re.fullmatch("md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", checksum) for checksum in checksums)
    assert len(set(checksums)) == len(checksums) == 7
