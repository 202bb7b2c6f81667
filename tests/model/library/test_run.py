"""What a run writes, and what it does when it is called again."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from model.image import MAX_PIXELS
from model.library.command import Command
from model.library.embedding.files import described, description_of
from model.library.embedding.xmp import Description, description_in, merged
from model.library.pipeline import Predict
from model.library.request import Request

Run = Callable[..., bool]


@pytest.fixture
def run(predict: Predict) -> Run:
    """Returns a function that runs the command on photos with options; it returns whether nothing failed."""

    def call(*photos: Path, settings: dict[str, Any] | None = None, **options: Any) -> bool:
        request = Request(photos=tuple(map(str, photos)), max_pixels=MAX_PIXELS, **options)
        command = Command(request, predict)
        return command.write(command.list_photos(), {"captions": 1, **(settings or {})})

    return call


def rows_of(table: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in table.read_text().splitlines()]


def pixels_of(photo: Path) -> bytes:
    with Image.open(photo) as image:
        return image.tobytes()


def summary(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1].partition(" in ")[0]


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
        with pytest.raises(Exception, match="expected a journal"):
            run(library, write=("jsonl",), out=tmp_path / "table.jsonl")
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


def test_sidecars_stand_where_programs_look(library: Path, run: Run) -> None:
    assert run(library, write=("txt", "json", "xmp"), threshold=0.0)
    for photo in library.rglob("photo*.[jp][pn]g"):
        row = json.loads(photo.with_name(f"{photo.name}.json").read_text())
        text = row["captions"][0]["text"]
        assert photo.with_suffix(".txt").read_text() == f"{text}\n"
        assert description_in(photo.with_name(f"{photo.name}.xmp").read_bytes()) == text
    assert run(library, write=("txt", "json", "xmp"), threshold=0.0)


@pytest.mark.skipif(shutil.which("exiv2") is None, reason="exiv2 is not installed")
def test_exiv2_reads_a_sidecar(library: Path, run: Run) -> None:
    run(library, write=("xmp", "json"), threshold=0.0)
    photo = library / "photo0000.jpg"
    row = json.loads(photo.with_name(f"{photo.name}.json").read_text())
    labels = [item["label"].replace("_", " ") for item in row["classes"]]
    read = subprocess.run(["exiv2", "-Pkt", f"{photo}.xmp"], capture_output=True, text=True, check=True)
    found = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1].strip() for line in read.stdout.splitlines()}
    # It tells the fields of EXIF and IPTC that it would fill from these, too.
    expected = {
        "Xmp.dc.description": f'lang="x-default" {row["captions"][0]["text"]}',
        "Xmp.dc.subject": ", ".join(labels),
        "Xmp.digiKam.TagsList": ", ".join(labels),
    }
    assert {name: value for name, value in found.items() if name.startswith("Xmp.")} == expected


def test_what_others_wrote_is_kept_until_overwriting_is_asked_for(
    library: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    text = library / "photo0000.txt"
    xmp = library / "photo0001.jpg.xmp"
    text.write_text("by hand")
    xmp.write_bytes(merged(b"", Description("by hand", ["family"])))
    assert run(library, write=("txt", "xmp"))
    assert summary(capsys) == "captioned 8, unchanged 0, failed 0, texts of others kept 2"
    assert (text.read_text(), description_in(xmp.read_bytes())) == ("by hand", "by hand")
    changed = library / "photo0003.txt"
    changed.write_text("edited later")
    assert run(library, write=("txt", "xmp"))
    assert changed.read_text() == "edited later"
    assert run(library, write=("txt", "xmp"), overwrite=True)
    assert text.read_text() != "by hand"
    assert changed.read_text() != "edited later"
    assert description_in(xmp.read_bytes()) != "by hand"
    assert b"family" in xmp.read_bytes()


def test_a_sidecar_of_a_photo_program_keeps_all_that_is_in_it(library: Path, run: Run) -> None:
    sidecar = library / "photo0000.jpg.xmp"
    sidecar.write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<r:Description r:about="" xmlns:dt="http://darktable.sf.net/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmp:Rating="4" dt:history_end="7"><dt:history><r:Seq><r:li dt:operation="exposure"/></r:Seq></dt:history>'
        "</r:Description></r:RDF></x:xmpmeta>"
    )
    assert run(library, write=("xmp",))
    text = sidecar.read_text()
    assert description_in(text.encode())
    for kept in ('xmp:Rating="4"', 'dt:history_end="7"', '<r:li dt:operation="exposure"/>'):
        assert kept in text


def test_damaged_xmp_fails_for_its_photo_alone(library: Path, run: Run) -> None:
    for name, content in (
        ("photo0000.jpg.xmp", "<x"),
        ("photo0001.jpg.xmp", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"),
    ):
        (library / name).write_text(content)
        assert not run(library, write=("xmp",))
        assert (library / name).read_text() == content
    assert len(list(library.rglob("*.xmp"))) == 8


def test_two_photos_never_share_a_text_file(library: Path, run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "red").save(library / "photo0000.png")
    assert not run(library, write=("txt", "jsonl"), out=tmp_path / "t.jsonl")
    failed = [row for row in rows_of(tmp_path / "t.jsonl") if row["error"]]
    assert [Path(row["file"]).name for row in failed] == ["photo0000.png"]
    assert "in the text file of photo0000.jpg" in failed[0]["error"]


def test_another_folder_gets_sidecars_and_copies_in_the_same_order(library: Path, run: Run, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in library.rglob("*") if path.is_file()}
    out = tmp_path / "out"
    assert run(library, write=("json",), out=out, exif=True)
    assert {path: path.read_bytes() for path in library.rglob("*") if path.is_file()} == before
    for photo in library.rglob("photo*"):
        copy = out / photo.relative_to(library)
        caption = json.loads(copy.with_name(f"{copy.name}.json").read_text())["captions"][0]["text"]
        assert description_of(copy.read_bytes()) == caption


def test_photos_are_described_in_place_once(library: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (library / "photo0006.jpg").chmod(0o640)
    mine = described((library / "photo0005.jpg").read_bytes(), Description("by hand", []))
    (library / "photo0005.jpg").write_bytes(mine)
    pixels = {photo: pixels_of(photo) for photo in library.rglob("photo*")}
    assert run(library, exif=True, in_place=True)
    assert summary(capsys) == "captioned 8, unchanged 0, failed 0, texts of others kept 1"
    assert {photo: pixels_of(photo) for photo in pixels} == pixels
    assert all(description_of(photo.read_bytes()) for photo in pixels)
    assert (library / "photo0005.jpg").read_bytes() == mine
    assert (library / "photo0006.jpg").stat().st_mode & 0o777 == 0o640
    described_once = {photo: photo.read_bytes() for photo in pixels}
    assert run(library, exif=True, in_place=True)
    assert summary(capsys) == "captioned 0, unchanged 8, failed 0"
    assert {photo: photo.read_bytes() for photo in pixels} == described_once


def test_a_link_is_never_replaced_by_a_file(library: Path, run: Run) -> None:
    link = library / "link.jpg"
    link.symlink_to("photo0000.jpg")
    assert not run(library, exif=True, in_place=True)
    assert link.is_symlink()


def test_a_second_run_at_the_same_place_is_refused(library: Path, run: Run, tmp_path: Path) -> None:
    from model.library.journal import Journal

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
