"""What is found in folders, in which order, and what is left out."""

import os
import sys
import time
from pathlib import Path

import pytest

from model.library.listing import list_photos


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def listed(folder: Path) -> list[str]:
    return [Path(path).relative_to(folder).as_posix() for path in list_photos([str(folder)]).photos]


def test_photos_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a/z.PNG", "a/b/c.webp", "c.jfif", "d.jpe", "e.avif", "a.jpeg", "a0/x.tif")
    assert listed(tmp_path) == [
        "a/b/c.webp", "a/z.PNG", "a.jpeg", "a0/x.tif", "b.jpg", "c.jfif", "d.jpe", "e.avif",
    ]  # fmt: skip


def test_what_is_left_out_is_counted_by_its_ending(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.MOV", "c.mov", "inside/d.mp4", "README", "._a.jpg", "@eaDir/a.jpg", ".thumbnails/b.png")
    found = list_photos([str(tmp_path)])
    assert [Path(path).name for path in found.photos] == ["a.jpg"]
    assert found.left_out == {
        ".mov": 2, ".mp4": 1, "without an ending": 1, "._* of macOS": 1, "folders of thumbnails or trash": 2,
    }  # fmt: skip
    assert found.left_out_text.startswith("2 .mov, ")


def test_sidecars_of_photos_are_not_counted_and_other_texts_are(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.txt", "a.jpg.json", "a.jpg.xmp", "a.xmp", ".showtell.journal", "notes.txt", "b.xmp")
    found = list_photos([str(tmp_path)])
    assert len(found.photos) == 1
    assert found.left_out == {".txt": 1, ".xmp": 1}


def test_a_folder_that_is_named_is_looked_into_whatever_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "thumbs/a.jpg")
    assert listed(tmp_path) == []
    assert listed(tmp_path / "thumbs") == ["a.jpg"]


def test_the_folder_that_is_written_to_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "copies/a.jpg")
    found = list_photos([str(tmp_path)], excluded=[str(tmp_path / "copies")])
    assert found.photos == [str(tmp_path / "a.jpg")]


def test_thirty_levels_of_folders_are_looked_into(tmp_path: Path) -> None:
    deep = "/".join(f"level{number}" for number in range(30))
    touch(tmp_path, f"{deep}/a.jpg")
    assert listed(tmp_path) == [f"{deep}/a.jpg"]


def test_a_path_that_is_longer_than_the_system_takes_is_a_failure(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("x" * 250, dir_fd=folder)
        inside = os.open("x" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inside
    os.close(folder)
    found = list_photos([str(tmp_path)])
    assert found.photos == [str(tmp_path / "a.jpg")]
    assert [reason for _, reason in found.failures] == ["File name too long"]


def test_links_that_lead_round_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "inside/a.jpg")
    (tmp_path / "again").symlink_to(tmp_path / "inside")
    (tmp_path / "inside" / "up").symlink_to(tmp_path)
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "itself.jpg").symlink_to("itself.jpg")
    found = list_photos([str(tmp_path)])
    # The photo has the name where it lies, though a link comes before it. The link to itself fails when it is read.
    assert [Path(path).relative_to(tmp_path).as_posix() for path in found.photos] == ["inside/a.jpg", "itself.jpg"]
    assert found.failures == []


def test_a_linked_folder_elsewhere_is_looked_into(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.jpg", "photos/b.jpg")
    (tmp_path / "photos" / "a").symlink_to(tmp_path / "elsewhere")
    assert listed(tmp_path / "photos") == ["b.jpg", "a/a.jpg"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_a_pipe_with_the_name_of_a_photo_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    found = list_photos([str(tmp_path)])
    assert (found.photos, found.left_out) == ([], {"that are no files": 1})


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are no text")
def test_names_in_any_encoding_are_found(tmp_path: Path) -> None:
    names = [b"latin-\xe9.jpg", "кириллица.jpg".encode(), b"line\nbreak.jpg", "日本.png".encode("shift_jis")]
    for name in names:
        (tmp_path / os.fsdecode(name)).touch()
    assert {os.fsencode(Path(path).name) for path in list_photos([str(tmp_path)]).photos} == set(names)


@pytest.mark.parametrize("address", ["http://example.org/a.jpg", "https://example.org/*.jpg", "s3://bucket/a.jpg"])
def test_an_address_is_refused_with_a_reason(address: str) -> None:
    found = list_photos([address])
    assert found.photos == []
    assert found.failures[0][0] == address
    assert "nothing is fetched" in found.failures[0][1]


@pytest.mark.slow
def test_a_hundred_thousand_small_files_are_listed_in_seconds(tmp_path: Path) -> None:
    for folder in range(100):
        inside = tmp_path / f"{folder:02}"
        inside.mkdir()
        for number in range(1000):
            os.close(os.open(inside / f"{number}.jpg", os.O_CREAT | os.O_WRONLY))
    started = time.process_time()
    found = list_photos([str(tmp_path)])
    seconds = time.process_time() - started
    assert (len(found.photos), found.folders) == (100_000, 101)
    assert seconds < 5
