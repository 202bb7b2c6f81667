"""Kills, full disks, read-only folders, vanished files and odd names: the command in a process of its own."""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from model.image import MAX_PIXELS
from model.library.embedding.files import description_of
from model.library.journal import Journal
from model.library.listing import list_photos
from model.library.pipeline import Predict
from model.library.request import Request
from model.library.run import LibraryRun
from tests.model.library.conftest import ROOT, Call, command, make_photos, pixels_of, rows_of

UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
"""What stands in front of a command so that permissions hold for it, though root calls it."""


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def run_and_kill(line: list[str], journal: Path, further_bytes: int) -> int:
    """Runs a command, and kills it when the journal has grown; returns how it ended."""
    goal = size_of(journal) + further_bytes
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and size_of(journal) < goal:
            pass
        process.kill()
        return process.wait()


@pytest.mark.slow
def test_ten_kills_leave_nothing_half_and_nothing_twice(tmp_path: Path, toy_bundle: Path, call: Call) -> None:
    photos = make_photos(tmp_path / "photos", 640)
    pixels = {photo: pixels_of(photo) for photo in photos}
    table = tmp_path / "table.jsonl"
    journal = tmp_path / "table.jsonl.journal"
    options = ("--write", "jsonl", "--out", table, "--write", "txt", "--write", "json", "--exif", "--in-place")
    chance = random.Random(4)  # noqa: S311 - no secret
    line = command(toy_bundle, tmp_path / "photos", *options)
    ends = [run_and_kill(line, journal, chance.randrange(1, 25_000)) for _ in range(10)]
    assert ends == [-signal.SIGKILL] * 10
    assert not table.exists()
    for sidecar in (tmp_path / "photos").glob("photo*.json"):
        assert json.loads(sidecar.read_text())["captions"]

    result = call(tmp_path / "photos", *options)

    assert result.returncode == 0, result.stderr
    rows = rows_of(table)
    assert Counter(row["file"] for row in rows) == Counter(map(str, photos))
    for row in rows:
        photo = Path(row["file"])
        text = row["captions"][0]["text"]
        assert row["error"] is None
        assert photo.with_suffix(".txt").read_text() == f"{text}\n"
        assert json.loads(photo.with_name(f"{photo.name}.json").read_text())["captions"] == row["captions"]
        assert description_of(photo.read_bytes()) == text
        assert pixels_of(photo) == pixels[photo]
    assert "texts of others" not in result.stderr
    assert sorted((tmp_path / "photos").glob(".*")) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_a_run_that_is_stopped_writes_its_table_and_goes_on(tmp_path: Path, toy_bundle: Path, call: Call) -> None:
    photos = make_photos(tmp_path / "photos", 640)
    table = tmp_path / "table.jsonl"
    options = ("--write", "jsonl", "--out", table)
    line = command(toy_bundle, tmp_path / "photos", *options)
    with subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and size_of(tmp_path / "table.jsonl.journal") < 5000:
            pass
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.startswith("stopped\ncaptioned ")
    begun = rows_of(table)
    assert 0 < len(begun) < len(photos)
    result = call(tmp_path / "photos", *options)
    assert result.returncode == 0, result.stderr
    assert f"unchanged {len(begun)}," in result.stderr
    assert Counter(row["file"] for row in rows_of(table)) == Counter(map(str, photos))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit of file sizes")
def test_a_full_disk_stops_the_run_and_a_second_one_goes_on(tmp_path: Path, call: Call) -> None:
    photos = make_photos(tmp_path / "photos", 64)
    options = ("--write", "jsonl", "--out", tmp_path / "table.jsonl")
    # A file that may not grow is what a full disk is to who writes it.
    limited = call(tmp_path / "photos", *options, front=("sh", "-c", 'ulimit -f 40; exec "$@"', "-"))
    assert limited.returncode == 1
    assert "make room, then run the command again" in limited.stderr
    assert "Traceback" not in limited.stderr
    assert not (tmp_path / "table.jsonl").exists()
    result = call(tmp_path / "photos", *options)
    assert result.returncode == 0, result.stderr
    assert "unchanged 0" not in result.stderr
    assert Counter(row["file"] for row in rows_of(tmp_path / "table.jsonl")) == Counter(map(str, photos))


def sealed(folder: Path) -> Iterator[None]:
    mode = folder.stat().st_mode
    folder.chmod(0o555)
    yield
    folder.chmod(mode)


@pytest.mark.skipif(bool(UNPRIVILEGED) and shutil.which("setpriv") is None, reason="root may write anywhere")
def test_a_read_only_folder_fails_for_its_photos_alone(library: Path, call: Call) -> None:
    for _ in sealed(library / "inside"):
        result = call(library, "--write", "txt", front=UNPRIVILEGED)
    assert result.returncode == 1
    assert "photo0000.txt cannot be written: Permission denied" in result.stderr
    assert "captioned 7, unchanged 0, failed 1" in result.stderr
    assert len(list(library.rglob("*.txt"))) == 7
    result = call(library, "--write", "txt")
    assert (result.returncode, "unchanged 7, failed 0, written without new captions 1 in" in result.stderr) == (0, True)


@pytest.mark.skipif(bool(UNPRIVILEGED) and shutil.which("setpriv") is None, reason="root may write anywhere")
def test_where_nothing_can_be_written_another_place_is_advised_and_works(
    library: Path, tmp_path: Path, call: Call
) -> None:
    for _ in sealed(library):
        result = call(library, "--write", "txt", front=UNPRIVILEGED)
        assert result.returncode == 1
        assert "Permission denied; name a file that can be by --journal" in result.stderr
        result = call(library, "--write", "txt", "--out", tmp_path / "texts", front=UNPRIVILEGED)
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "texts").rglob("*.txt"))) == 8


def test_what_vanishes_while_it_is_worked_on_is_a_failure(library: Path, predict: Predict, tmp_path: Path) -> None:
    photos = list_photos([str(library)]).photos
    request = Request(photos=(str(library),), write=("txt",), max_pixels=MAX_PIXELS)
    with Journal(tmp_path / "journal", {}) as journal:
        run = LibraryRun(
            journal, request.outputs(), predict, folder=str(tmp_path), max_pixels=MAX_PIXELS, threads=2
        )  # fmt: skip
        plan = run.plan(photos)
        (library / "photo0002.jpg").unlink()
        shutil.rmtree(library / "inside")
        failures = list(itertools.chain.from_iterable(run.work(plan)))
    assert [(Path(failure.path).name, failure.reason) for failure in failures if failure] == [
        ("photo0000.png", "No such file or directory"), ("photo0002.jpg", "No such file or directory"),
    ]  # fmt: skip
    assert (run.tally.captioned, run.tally.failed) == (6, 2)


def test_a_photo_that_changes_while_it_is_captioned_is_not_overwritten(
    library: Path, predict: Predict, tmp_path: Path
) -> None:
    photo = library / "photo0002.jpg"
    other = tmp_path / "other.jpg"
    Image.new("RGB", (30, 30), "red").save(other)
    request = Request(photos=(str(library),), exif=True, in_place=True, max_pixels=MAX_PIXELS)

    def predict_late(images: Any) -> Any:
        shutil.copyfile(other, photo)
        return predict(images)

    with Journal(tmp_path / "journal", {}) as journal:
        run = LibraryRun(
            journal, request.outputs(), predict_late, folder=str(tmp_path), max_pixels=MAX_PIXELS, threads=2
        )  # fmt: skip
        plan = run.plan([str(photo)])
        ((failure,),) = list(run.work(plan))
    assert failure is not None
    assert "changed while it was captioned" in failure.reason
    assert photo.read_bytes() == other.read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are no text")
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_names_that_a_terminal_cannot_show_are_escaped(tmp_path: Path, call: Call, encoding: str) -> None:
    (photo,) = make_photos(tmp_path, 1)
    names = ["кириллица.jpg", "line\nbreak.jpg", os.fsdecode(b"latin-\xe9.jpg"), "\x1b[31mred.jpg"]
    for name in names:
        shutil.copy(photo, tmp_path / name)
    (tmp_path / "сломан.jpg").write_bytes(b"")
    result = call(tmp_path, "--classes", "0", PYTHONIOENCODING=encoding)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    shown = [line for line in result.stdout.splitlines() if not line.startswith("  ")]
    cyrillic = "кириллица" if encoding == "utf-8" else "кириллица".encode("unicode_escape").decode()
    expected = [cyrillic, "line\\nbreak", "latin-\\xe9", "\\x1b[31mred", "photo0000"]
    assert {line.removeprefix(f"{tmp_path}/") for line in shown} == {f"{name}.jpg" for name in expected}
    assert "1 of 6 photos failed" in result.stderr


def test_odd_names_get_rows_and_sidecars(tmp_path: Path, call: Call) -> None:
    (photo,) = make_photos(tmp_path / "photos", 1)
    names = [
        "кириллица.jpg",
        "line\nbreak.jpg",
        os.fsdecode(b"latin-\xe9.jpg"),
        "x" * 251 + ".jpg",
        "- -.jpg",
        '#;,".jpg',
    ]
    for name in names:
        shutil.copy(photo, photo.parent / name)
    for kind in ("csv", "jsonl", *(["parquet"] if find_spec("pyarrow") else [])):
        result = call(photo.parent, "--write", kind, "--out", tmp_path / f"t.{kind}", "--write", "txt", "--journal",
                      tmp_path / kind)  # fmt: skip
        assert result.returncode == 0, result.stderr
    assert all((photo.parent / name).with_suffix(".txt").read_text() for name in names)
    # Here the sidecar's name is longer than a name may be.
    result = call(photo.parent, "--write", "xmp", "--journal", tmp_path / "xmp")
    assert (result.returncode, "captioned 6, unchanged 0, failed 1" in result.stderr) == (1, True)
    assert "File name too long" in result.stderr
