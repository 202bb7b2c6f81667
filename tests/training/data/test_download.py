"""Downloads against a real server on 127.0.0.1 that breaks off, lies and changes its mind."""

import hashlib
from pathlib import Path

import pytest

from model.errors import DataError
from tests.training.data.shelf import BODY, Shelf
from training.data.download import ATTEMPTS, download

SHA256 = "sha256:" + hashlib.sha256(BODY).hexdigest()


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
    body = BODY * 20
    shelf.files["/file"] = body
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
