"""Archives that are whole, damaged, or mean harm."""

import stat
import tarfile
from pathlib import Path

import pytest

from model.errors import DataError
from tests.training.data.shelf import BODY, tarred, tree, zipped
from training.data.archives import unpack


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
    archive = tmp_path / "x.zip"
    data = tmp_path / "data"
    archive.write_bytes(zipped({"a.txt": b"new", "b.txt": b"b"}))
    (data / ".x.zip.unpacking").mkdir(parents=True)
    (data / ".x.zip.unpacking" / "c.txt").write_bytes(b"half")
    (data / "a.txt").write_bytes(b"kept")
    unpack(archive, data)
    assert tree(data) == {"a.txt": b"kept", "b.txt": b"b"}
