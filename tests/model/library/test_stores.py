"""Photos at addresses, which `file://` stands in for, and tables in folders of Parquet files."""

import os
from pathlib import Path
from typing import Any

import pytest

from model.errors import ImageTooLargeError, LibraryError
from model.image import MAX_PIXELS
from model.library.parquet_folder import SETTINGS, ParquetFolder
from model.library.photos import MAX_FILE_BYTES, read_photo
from model.library.stores import is_stored, list_stored, located, read_anywhere
from model.library.tables import parquet_schema
from tests.model.library.conftest import make_photos

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://bucket/a.jpg", True), ("gs://bucket", True), ("/photos/a.jpg", False), ("s3:/a", False),
        ("https://example.org/a.jpg", False), ("photos", False),
    ],
)  # fmt: skip
def test_addresses_of_stores_are_told_from_paths(path: str, expected: bool) -> None:
    assert is_stored(path) is expected


def test_an_address_is_listed_by_the_rules_of_folders(tmp_path: Path) -> None:
    make_photos(tmp_path / "in here", 2)
    for name in ("film.mov", "._photo.jpg", "@eaDir/a.jpg", "@eaDir/b.jpg", "b/@eaDir/c.jpg", ".showtell.journal"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = list_stored(f"file://{tmp_path}/")
    assert found.photos == [f"file://{tmp_path}/in here/photo000{number}.jpg" for number in range(2)]
    assert found.left_out == {".mov": 1, "._* of macOS": 1, "folders of thumbnails or trash": 2}
    assert found.failures == []


def test_a_named_object_is_taken_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.dat").touch()
    assert list_stored(f"file://{tmp_path}/a.dat").photos == [f"file://{tmp_path}/a.dat"]


def test_an_address_with_nothing_at_it_is_a_failure(tmp_path: Path) -> None:
    found = list_stored(f"file://{tmp_path}/none")
    ((address, reason),) = found.failures
    assert address == f"file://{tmp_path}/none"
    assert "none" in reason


def test_an_address_of_no_known_store_is_told() -> None:
    with pytest.raises(LibraryError, match=r"nowhere://bucket/a: expected the address of a bucket that can be reached"):
        located("nowhere://bucket/a")


def test_photos_are_read_from_their_folders_with_bounds(tmp_path: Path) -> None:
    (photo,) = make_photos(tmp_path, 1)
    data, stamp = read_anywhere(str(photo))
    assert data == photo.read_bytes()
    assert stamp is not None
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        os.truncate(file.fileno(), MAX_FILE_BYTES + 1)
    with pytest.raises(ImageTooLargeError):
        read_anywhere(str(large))
    read = read_photo(str(large), max_pixels=MAX_PIXELS, read=read_anywhere)
    assert read.error.startswith("expected a file of at most")


def folder_of(tmp_path: Path) -> ParquetFolder:
    return ParquetFolder(str(tmp_path / "table"), str(tmp_path / "checkpoints"))


def write_rows(path: Path, *errors: str | None) -> None:
    row: dict[str, Any] = {"sha256": "", "width": 0, "height": 0, "captions": [], "classes": []}
    rows = [{"file": str(number), **row, "error": error} for number, error in enumerate(errors)]
    parquet.write_table(pa.Table.from_pylist(rows, schema=parquet_schema()), path)


def test_rows_and_failures_are_counted_and_checked(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.prepare({"captions": 1}, overwrite=False)
    folder.check(0)
    assert (folder.rows(), folder.failed()) == (0, 0)
    write_rows(tmp_path / "table" / "a.parquet", None, None)
    write_rows(tmp_path / "table" / "b.parquet", "bad")
    assert (folder.rows(), folder.failed()) == (3, 1)
    assert parquet.read_table(tmp_path / "table").num_rows == 3
    folder.check(3)
    with pytest.raises(LibraryError, match="expected 4 rows, one for each photo that is done, found 3"):
        folder.check(4)


def test_a_run_goes_on_with_its_settings_alone_or_begins_anew(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.check_settings({"captions": 1}, overwrite=False)
    folder.prepare({"captions": 1}, overwrite=False)
    write_rows(tmp_path / "table" / "a.parquet", None)
    (tmp_path / "checkpoints" / "a.parquet").touch()
    (tmp_path / "table" / "notes.txt").touch()
    folder.check_settings({"captions": 1}, overwrite=False)
    with pytest.raises(LibraryError, match=r"an earlier run had other settings \(captions was 1 and is 2\)"):
        folder.check_settings({"captions": 2}, overwrite=False)
    folder.check_settings({"captions": 2}, overwrite=True)
    folder.prepare({"captions": 2}, overwrite=True)
    assert {path.name for path in (tmp_path / "table").iterdir()} == {"notes.txt", SETTINGS}
    assert list((tmp_path / "checkpoints").iterdir()) == []
    folder.check_settings({"captions": 2}, overwrite=False)


def test_what_a_kill_left_half_written_is_taken_away(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.prepare({}, overwrite=False)
    table = tmp_path / "table"
    checkpoints = tmp_path / "checkpoints"
    for name in (
        "run_000000",
        "run_000001",
        "run_000002.pending",
        "run_000003",
        "run_000003.pending",
        "run_000004.pending",
    ):
        parquet.write_table(pa.table({"file": [name, f"{name}b"]}), checkpoints / f"{name}.parquet")
    for number in range(4):
        write_rows(table / f"run_00000{number}-0.parquet", None, None)
    (table / "run_000002-0.parquet").write_bytes(b"PAR1 half")
    done = folder.done("file")
    assert done == {f"run_00000{number}{letter}" for number in (0, 1, 3) for letter in ("", "b")}
    folder.check(len(done))
    assert not list(checkpoints.glob("*.pending.parquet"))
    assert sorted(path.name for path in table.glob("*.parquet")) == [
        f"run_00000{number}-0.parquet" for number in (0, 1, 3)
    ]


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.prepare({}, overwrite=False)
    (tmp_path / "checkpoints" / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(LibraryError, match="expected checkpoints of an earlier run, received"):
        folder.done("file")


def test_a_damaged_file_of_the_table_is_told(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.prepare({}, overwrite=False)
    (tmp_path / "table" / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(LibraryError, match="expected Parquet files of this command, received"):
        folder.rows()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_table_of_someone_else_is_left_alone(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "a.parquet").touch()
    with pytest.raises(LibraryError, match="expected an empty folder, or the table of an earlier run, found"):
        folder_of(tmp_path).check_settings({}, overwrite=overwrite)


def test_damaged_settings_are_told(tmp_path: Path) -> None:
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / SETTINGS).write_text("{")
    with pytest.raises(LibraryError, match="expected the settings of an earlier run, found a damaged file"):
        folder_of(tmp_path).check_settings({}, overwrite=False)
