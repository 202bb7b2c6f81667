"""Sidecars and descriptions inside photos: where programs look for them, and what of others stays as it is."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from model.library.embedding.files import described, description_of
from model.library.embedding.xmp import Description, description_in, merged
from tests.model.library.conftest import Run, pixels_of, rows_of, summary


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


def test_what_one_kind_of_file_fails_for_gets_the_others_all_the_same(
    library: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (20, 20), "red").save(library / "photo0000.png")
    Image.new("RGB", (20, 20), "red").save(library / "drawing.gif")
    for captioned, unchanged in ((8, 0), (0, 8)):
        assert not run(library, write=("txt", "xmp"), exif=True, in_place=True)
        assert summary(capsys) == f"captioned {captioned}, unchanged {unchanged}, failed 2"
    assert description_of((library / "photo0000.png").read_bytes())
    assert all((library / f"{name}.xmp").exists() for name in ("photo0000.png", "drawing.gif"))
    assert (library / "drawing.txt").exists()
    assert [path.name for path in library.rglob(".*")] == [".showtell.journal"]


def test_another_kind_is_written_without_new_captions(
    library: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(library, write=("txt",))
    (library / "photo0001.txt").unlink()
    assert run(library, write=("txt", "xmp", "json"), exif=True, in_place=True)
    assert summary(capsys) == "captioned 0, unchanged 0, failed 0, written without new captions 8"
    for photo in library.rglob("photo*.[jp][pn]g"):
        text = photo.with_suffix(".txt").read_text().strip()
        assert text == description_in(photo.with_name(f"{photo.name}.xmp").read_bytes())
        assert text == description_of(photo.read_bytes())
        assert text == json.loads(photo.with_name(f"{photo.name}.json").read_text())["captions"][0]["text"]


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


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root may give files away")
def test_what_is_replaced_keeps_its_owner_and_permissions(library: Path, run: Run) -> None:
    photo = library / "photo0000.jpg"
    sidecar = library / "photo0000.jpg.xmp"
    sidecar.write_bytes(merged(b"", Description("", ["family"])))
    for path in (photo, sidecar):
        os.chown(path, 1234, 1235)
        path.chmod(0o604)
    assert run(library, write=("xmp",), exif=True, in_place=True)
    assert description_of(photo.read_bytes()) == description_in(sidecar.read_bytes()) != ""
    for path in (photo, sidecar):
        status = path.stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1234, 1235, 0o604)


def test_a_link_is_never_replaced_by_a_file(library: Path, run: Run) -> None:
    link = library / "link.jpg"
    link.symlink_to("photo0000.jpg")
    assert not run(library, exif=True, in_place=True)
    assert link.is_symlink()
