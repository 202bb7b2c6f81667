"""Photos, splits and doubles of a source, whatever its form."""

import json
import os
from pathlib import Path

import pytest

from model.errors import DataError
from tests.training.data.forms import made
from training.data.forms.collect import Collected, read_captions
from training.data.forms.form import Reading


def table(root: Path, *rows: dict[str, object]) -> Path:
    return made.text(root / "captions.jsonl", *(json.dumps(row) for row in rows))


def row(photo: object, caption: object = "a dog", **more: object) -> dict[str, object]:
    return {"image": photo, "caption": caption} | more


def read(path: Path, photos: Path | None = None, dev_fraction: float = 0.0) -> Collected:
    return read_captions(path, dev_fraction=dev_fraction, reading=Reading(photos=photos))


def test_a_photo_is_one_photo_however_its_path_is_written(tmp_path: Path) -> None:
    made.photos(tmp_path, "a.jpg", "sub/b.jpg")
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "copy.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    texts = ["a.jpg", "./a.jpg", "sub/../a.jpg", str(tmp_path / "a.jpg"), "link.jpg", "copy.jpg", "sub\\b.jpg"]
    collected = read(table(tmp_path, *(row(text, f"a dog {text}") for text in texts)), dev_fraction=0.5)
    assert [(image.path, len(image.captions)) for image in collected.images] == [
        (tmp_path / "a.jpg", 6), (tmp_path / "sub" / "b.jpg", 1),
    ]  # fmt: skip
    assert collected.summary()[1:] == [
        "further ways to write the path of a photo: 3", "photos whose content is that of another, taken as one: 2",
    ]  # fmt: skip


@pytest.mark.parametrize("other", ["a.jpg", "./a.jpg", "link.jpg", "copy.jpg"])
@pytest.mark.parametrize(
    ("splits", "kept"), [(("train", "val"), "dev"), (("test", "train"), "test"), (("dev", "test"), "test")]
)
def test_no_photo_is_in_two_splits(other: str, splits: tuple[str, str], kept: str, tmp_path: Path) -> None:
    made.photos(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "copy.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    rows = [row("a.jpg", "one", split=splits[0]), row(other, "two", split=splits[1]), row("b.jpg", split="train")]
    collected = read(table(tmp_path, *rows))
    stays = "one" if splits[0][:3] == kept[:3] else "two"
    assert [(image.captions, image.split) for image in collected.images] in (
        [((stays,), kept), (("a dog",), "train")], [(("a dog",), "train"), ((stays,), kept)],
    )  # fmt: skip
    assert "photos in several splits, kept in test or else dev alone: 1" in collected.summary()


def test_photos_are_found_below_the_folder_that_is_named(tmp_path: Path) -> None:
    made.photos(tmp_path / "photos", "train/a.jpg", "val/b.jpeg", "c.jpg", "train/twice.jpg", "val/twice.jpg")
    rows = [row(text) for text in ("a.jpg", "b", "/kaggle/input/c.jpg", "twice.jpg", "gone.jpg")]
    collected = read(table(tmp_path / "captions", *rows), tmp_path / "photos")
    there = [image.path.relative_to(tmp_path).as_posix() for image in collected.images if image.path.exists()]
    assert there == ["photos/train/a.jpg", "photos/val/b.jpeg", "photos/c.jpg"]
    assert collected.missing == [tmp_path / "photos" / "twice.jpg", tmp_path / "photos" / "gone.jpg"]
    assert collected.summary()[-1].startswith("missing: 2 photos, such as ")


def test_no_photo_at_all_says_where_they_were_looked_for(tmp_path: Path) -> None:
    path = table(tmp_path, *(row(f"{letter}.jpg") for letter in "abcd"))
    told = rf"expected the photos that it names, found none of 4; tried '{tmp_path}/a\.jpg', .*b\.jpg', .*c\.jpg'; say"
    with pytest.raises(DataError, match=told) as caught:
        read(path)
    assert "d.jpg" not in str(caught.value)
    assert "--photos DIR" in str(caught.value)


@pytest.mark.parametrize(
    ("photo", "why"),
    [
        *((value, "expected a photo's file name") for value in (None, "", 7, ["a.jpg"], "a\0.jpg", "\ud800.jpg")),
        ("https://example.org/a.jpg", "expected a photo's file, found an address; download the photos first"),
    ],
)  # fmt: skip
def test_a_record_without_a_photo_is_one_bad_record(photo: object, why: str, tmp_path: Path) -> None:
    made.photos(tmp_path, "b.jpg")
    collected = read(table(tmp_path, row("b.jpg"), row(photo)))
    assert len(collected.images) == 1
    assert collected.report.summary() == [f"left out: 1 records (1 {why})"]


def test_a_name_that_is_too_long_is_missing(tmp_path: Path) -> None:
    made.photos(tmp_path, "b.jpg")
    assert len(read(table(tmp_path, row("b.jpg"), row("x" * 5000 + ".jpg"))).missing) == 1


def test_nothing_usable_says_what_was_left_out_first(tmp_path: Path) -> None:
    made.photos(tmp_path, "b.jpg")
    path = table(tmp_path, row("b.jpg", None), row("b.jpg", 5), row("b.jpg", split="other"), row("b.jpg", []))
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert message.count("left out (") == 3
    assert "line 1: caption left out (null): None; " in message
    assert "line 3: record left out (expected the split train, dev or test): 'other'" in message


def test_captions_that_are_an_empty_list_are_told_too(tmp_path: Path) -> None:
    made.photos(tmp_path, "a.jpg", "b.jpg")
    collected = read(table(tmp_path, row("a.jpg"), row("b.jpg", [])))
    assert collected.report.lines == [f"{tmp_path / 'captions.jsonl'}, line 2: record left out (no caption): 'b.jpg'"]


def test_dev_is_drawn_by_the_name_where_the_source_has_none(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(40)]
    made.photos(tmp_path, *names)
    without = {image.name: image.split for image in read(table(tmp_path, *map(row, names)), dev_fraction=0.3).images}
    assert 5 < list(without.values()).count("dev") < 20
    spelled = table(tmp_path, *(row(f"./{name}") for name in names))
    assert {image.name: image.split for image in read(spelled, dev_fraction=0.3).images} == without
    named = read(table(tmp_path, *(row(name, split="train") for name in names)), dev_fraction=0.3)
    assert {image.name: image.split for image in named.images} == without
    count = list(without.values()).count("dev")
    assert f"photos of train kept for dev, as the source has none (--dev-fraction): {count}" in named.summary()
    has_dev = table(tmp_path, row(names[0], split="dev"), *(row(name, split="train") for name in names[1:]))
    assert [image.split for image in read(has_dev, dev_fraction=0.3).images] == ["dev"] + ["train"] * 39


def test_photos_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    for split in ("train", "test"):
        made.photos(tmp_path / split, "a.jpg")
        made.text(tmp_path / split / "metadata.jsonl", json.dumps({"file_name": "a.jpg", "text": f"a {split} photo"}))
    assert [image.name for image in read(tmp_path).images] == [
        str(tmp_path / "test" / "a.jpg"), str(tmp_path / "train" / "a.jpg"),
    ]  # fmt: skip


def test_a_photo_whose_name_is_no_utf8_has_a_name_that_is(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    made.photos(tmp_path, name)
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("a dog")
    (image,) = read(tmp_path).images
    assert (image.name, image.read_bytes()[:5]) == ("caf\\xe9.jpg", b"photo")
