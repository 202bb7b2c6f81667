"""What a run does again, what it leaves out when it is called again, and what it refuses."""

import csv
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from model.library.journal import Journal
from tests.model.library.conftest import Run, rows_of, summary


def test_a_table_has_every_photo_once_with_its_hash(library: Path, run: Run, tmp_path: Path) -> None:
    table = tmp_path / "out" / "table.jsonl"
    assert run(library, library / "*.jpg", write=("jsonl",), out=table)
    rows = rows_of(table)
    assert [row["file"] for row in rows] == [
        str(library / "inside" / "photo0000.png"),
        *map(str, sorted(library.glob("*.jpg"))),
    ]
    for row in rows:
        assert row["sha256"] == hashlib.sha256(Path(row["file"]).read_bytes()).hexdigest()
        assert (row["width"], row["height"], row["error"]) == (16, 12, None)
        assert row["captions"][0]["text"]
        assert len(row["classes"]) == 3


def test_a_failure_is_a_row_with_its_reason(library: Path, run: Run, tmp_path: Path) -> None:
    (library / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (library / "gone.jpg").symlink_to("nowhere.jpg")
    table = tmp_path / "table.csv"
    assert not run(library, write=("csv",), out=table)
    with table.open(newline="") as file:
        rows = {Path(row["file"]).name: row for row in csv.DictReader(file)}
    assert len(rows) == 10
    assert rows["broken.jpg"]["error"].startswith("expected a whole image")
    assert rows["gone.jpg"]["error"] == "No such file or directory"
    assert rows["broken.jpg"]["caption"] == ""
    assert rows["photo0003.jpg"]["caption"]


def test_a_parquet_table_has_the_same_rows_and_types_even_if_all_failed(
    library: Path, run: Run, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run(library, write=("jsonl",), out=tmp_path / "a.jsonl")
    run(library, write=("parquet",), out=tmp_path / "a.parquet")
    assert parquet.read_table(tmp_path / "a.parquet").to_pylist() == rows_of(tmp_path / "a.jsonl")
    broken = tmp_path / "broken" / "a.jpg"
    broken.parent.mkdir()
    broken.write_bytes(b"")
    run(broken, write=("parquet",), out=tmp_path / "b.parquet")
    assert parquet.read_schema(tmp_path / "a.parquet") == parquet.read_schema(tmp_path / "b.parquet")


def test_what_is_done_and_unchanged_is_left_out(
    library: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.jsonl"
    run(library, write=("jsonl",), out=table)
    first = table.read_bytes()
    assert summary(capsys) == "captioned 8, unchanged 0, failed 0"
    os.utime(library / "photo0001.jpg")  # another time, the same bytes
    run(library, write=("jsonl",), out=table)
    assert summary(capsys) == "captioned 0, unchanged 8, failed 0"
    assert sorted(rows_of(table), key=str) == sorted(map(json.loads, first.splitlines()), key=str)
    Image.new("RGB", (20, 20), "red").save(library / "photo0002.jpg")
    Image.new("RGB", (20, 20), "blue").save(library / "new.jpg")
    run(library, write=("jsonl",), out=table)
    assert summary(capsys) == "captioned 2, unchanged 7, failed 0"
    files = [row["file"] for row in rows_of(table)]
    assert len(files) == len(set(files)) == 9
    run(library, write=("jsonl",), out=table, overwrite=True)
    assert summary(capsys) == "captioned 9, unchanged 0, failed 0"


def test_failures_are_tried_again_where_that_can_help(
    library: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (library / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (library / "gone.jpg").symlink_to(tmp_path / "later.jpg")
    table = tmp_path / "table.jsonl"
    assert not run(library, write=("jsonl",), out=table)
    assert summary(capsys) == "captioned 8, unchanged 0, failed 2"
    shutil.copy(library / "photo0000.jpg", tmp_path / "later.jpg")
    assert not run(library, write=("jsonl",), out=table)
    assert summary(capsys) == "captioned 1, unchanged 8, failed 1"
    assert {Path(row["file"]).name for row in rows_of(table) if row["error"]} == {"broken.jpg"}


def test_other_settings_are_refused_and_named(library: Path, run: Run, tmp_path: Path) -> None:
    run(library, write=("jsonl",), out=tmp_path / "table.jsonl")
    with pytest.raises(Exception, match=r"captions was 1 and is 2.*--overwrite"):
        run(library, write=("jsonl",), out=tmp_path / "table.jsonl", settings={"captions": 2})


def test_a_journal_that_is_none_is_never_touched(library: Path, run: Run, tmp_path: Path) -> None:
    other = tmp_path / "table.jsonl.journal"
    for content in ("someone's notes\n", "someone's notes"):
        other.write_text(content)
        for overwrite in (False, True):
            with pytest.raises(Exception, match="expected a journal"):
                run(library, write=("jsonl",), out=tmp_path / "table.jsonl", overwrite=overwrite)
        assert other.read_text() == content


def test_a_damaged_end_of_the_journal_is_made_again(library: Path, run: Run, tmp_path: Path) -> None:
    table = tmp_path / "table.jsonl"
    run(library, write=("jsonl",), out=table)
    journal = tmp_path / "table.jsonl.journal"
    whole = journal.read_bytes()
    for end in (len(whole) - 1, len(whole) - 700, whole.index(b"\n") + 1, whole.index(b"\n"), 5, 0):
        journal.write_bytes(whole[:end] + b"\0" * (20 if end > len(whole) // 2 else 0))
        run(library, write=("jsonl",), out=table)
        files = [row["file"] for row in rows_of(table)]
        assert len(files) == len(set(files)) == 8


def test_a_photo_above_a_limit_is_taken_when_the_limit_is_raised(library: Path, run: Run, tmp_path: Path) -> None:
    assert not run(library, write=("jsonl",), out=tmp_path / "t.jsonl", max_pixels=100)
    assert run(library, write=("jsonl",), out=tmp_path / "t.jsonl")


def test_a_second_run_at_the_same_place_is_refused(library: Path, run: Run, tmp_path: Path) -> None:
    with Journal(tmp_path / "t.jsonl.journal", {"captions": 1}), pytest.raises(Exception, match="another run"):
        run(library, write=("jsonl",), out=tmp_path / "t.jsonl")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"write": ("csv",)}, "expected --out"),
        ({"write": ("csv", "jsonl")}, "at most one of"),
        ({"exif": True}, "--in-place"),
        ({"in_place": True}, "expected --exif"),
        ({"write": ("csv",), "exif": True, "out": Path("a")}, "call the command twice"),
        ({"out": Path("a")}, "say what is to be written"),
        ({"exif": True, "in_place": True, "out": Path("a")}, "expected no --out"),
        ({"write": ("csv",), "out": Path()}, "received a folder"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(library: Path, run: Run, options: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        run(library, **options)
