"""Watching a folder: what appears is captioned once it is whole, and looking takes little time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from model.library.watch import Arrivals
from tests.model.library.conftest import ROOT, command, make_photos

PATIENCE_SECONDS = 120


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Waits for a condition."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, what


def test_a_photo_is_new_once_and_again_when_it_changes(tmp_path: Path) -> None:
    (photo,) = map(str, make_photos(tmp_path, 1))
    os.utime(photo, (1, 1))
    arrivals = Arrivals(60)
    assert [arrivals.new([photo]) for _ in range(2)] == [[photo], []]
    os.utime(photo, (2, 2))
    assert [arrivals.new([photo]) for _ in range(2)] == [[photo], []]
    assert arrivals.new([]) == []
    assert arrivals.new([photo]) == [photo]


def test_a_photo_that_is_still_written_is_waited_for(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    arrivals = Arrivals(60)
    for content in (b"a", b"ab", b"abc"):
        photo.write_bytes(content)
        assert arrivals.new([str(photo)]) == []
    assert arrivals.new([str(photo)]) == [str(photo)]
    assert arrivals.new([str(photo), str(tmp_path / "gone.jpg")]) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_what_appears_is_captioned_until_it_is_stopped(tmp_path: Path, toy_bundle: Path) -> None:
    folder = tmp_path / "photos"
    table = tmp_path / "table.csv"
    make_photos(folder, 2)
    options = ("--watch", "--poll-seconds", "0.2", "--write", "csv", "--out", table, "--write", "txt")
    with subprocess.Popen(
        command(toy_bundle, folder, *options), cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until(lambda: table.exists() and table.read_text().count("\n") == 3, "the first photos")
            make_photos(folder / "later", 3)
            wait_until(lambda: table.read_text().count("\n") == 6, "the later photos")
            (folder / "broken.jpg").write_bytes(b"")
            wait_until(lambda: table.read_text().count("\n") == 7, "the broken one")
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "captioned 5, unchanged 0, failed 1" in errors
    assert "Traceback" not in errors
    assert len(list(folder.rglob("*.txt"))) == 5
