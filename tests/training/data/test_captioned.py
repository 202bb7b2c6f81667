import json
from pathlib import Path

import pytest

from model.errors import DataError
from training.data.captioned import find_photos, read_coco, read_csv, read_flickr8k, read_folder


def flickr8k(root: Path) -> Path:
    (root / "images").mkdir(parents=True)
    lines = [f"{name}.jpg#{n}\tA {name} number {n} ." for name in "abc" for n in range(2)]
    (root / "Flickr8k.token.txt").write_text("\n".join(lines))
    (root / "Flickr_8k.trainImages.txt").write_text("a.jpg\nb.jpg\n")
    (root / "Flickr_8k.devImages.txt").write_text("c.jpg\n")
    return root


def test_flickr8k_groups_captions_by_image_and_keeps_the_splits(tmp_path: Path) -> None:
    images = read_flickr8k(flickr8k(tmp_path))
    assert [(image.name, image.split) for image in images] == [("a.jpg", "train"), ("b.jpg", "train"), ("c.jpg", "dev")]
    assert images[0].captions == ("A a number 0 .", "A a number 1 .")
    assert images[0].path == tmp_path / "images" / "a.jpg"


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("Flickr8k.token.txt", "no tab here", "Flickr8k.token.txt:1"),
        ("Flickr_8k.devImages.txt", "missing.jpg\n", "missing.jpg"),
    ],
)
def test_flickr8k_names_what_is_wrong(tmp_path: Path, file: str, content: str, named: str) -> None:
    root = flickr8k(tmp_path)
    (root / file).write_text(content)
    with pytest.raises(DataError, match=named):
        read_flickr8k(root)


def test_coco_joins_annotations_to_files(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for split in ("train", "val"):
        content = {
            "images": [{"id": 7, "file_name": "000007.jpg"}],
            "annotations": [{"image_id": 7, "caption": f"a {split} photo"}, {"image_id": 7, "caption": "another"}],
        }
        (tmp_path / "annotations" / f"captions_{split}2017.json").write_text(json.dumps(content))
    train, dev = read_coco(tmp_path)
    assert (train.split, train.path) == ("train", tmp_path / "train2017" / "000007.jpg")
    assert (dev.split, dev.captions) == ("dev", ("a val photo", "another"))


def test_coco_with_a_caption_of_an_unknown_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    content = {"images": [], "annotations": [{"image_id": 1, "caption": "x"}]}
    (tmp_path / "annotations" / "captions_train2017.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="captions_train2017"):
        read_coco(tmp_path)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_tables_are_read_with_their_own_split(tmp_path: Path, form: str) -> None:
    rows = [("a.jpg", "one, with a comma", "train"), ("a.jpg", "two", "train"), ("b.jpg", "three", "dev")]
    table = tmp_path / f"captions.{form}"
    if form == "csv":
        table.write_text("image,caption,split\n" + "".join(f'{i},"{c}",{s}\n' for i, c, s in rows))
    else:
        table.write_text("\n".join(json.dumps({"image": i, "caption": c, "split": s}) for i, c, s in rows))
    first, second = read_csv(table)
    assert (first.captions, first.split) == (("one, with a comma", "two"), "train")
    assert (second.path, second.split) == (tmp_path / "b.jpg", "dev")


@pytest.mark.parametrize(
    "text", ["picture,words\na,b\n", "image,caption,split\na,b,train\na,c,dev\n", "image,caption\na,\n"]
)
def test_a_table_with_wrong_rows_names_the_row(tmp_path: Path, text: str) -> None:
    table = tmp_path / "captions.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=r"row [12]"):
        read_csv(table)


def test_a_split_by_hash_does_not_move_when_photos_are_added(drawn: Path, tmp_path: Path) -> None:
    before = {image.name: image.split for image in read_folder(drawn, dev_fraction=0.3)}
    assert set(before.values()) == {"train", "dev"}
    for name in ("photo-00", "photo-01", "photo-05"):
        for suffix in (".jpg", ".txt"):
            (tmp_path / f"{name}{suffix}").write_bytes((drawn / f"{name}{suffix}").read_bytes())
    for image in read_folder(tmp_path, dev_fraction=0.3):
        assert image.split == before[image.name]


def test_photos_are_found_sorted_without_those_excluded_and_twice_when_named_twice(drawn: Path) -> None:
    photos = find_photos([drawn, drawn], frozenset({"photo-03.jpg"}))
    assert len(photos) == 46
    assert photos[:23] == photos[23:] == sorted(photos[:23])


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none"):
        find_photos([tmp_path])


def test_a_table_from_a_spreadsheet_is_read_as_it_is(tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    table.write_bytes('\ufeffimage,caption\r\na.jpg,"two\nlines"\r\nb.jpg,"one, two"\r\n'.encode())
    assert [image.captions for image in read_csv(table)] == [("two\nlines",), ("one, two",)]


def test_a_comma_without_quotes_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    table.write_text("image,caption\na.jpg,a dog, running\n")
    with pytest.raises(DataError, match=r"row 1: .* put captions with commas in quotes"):
        read_csv(table)


def test_a_line_of_json_may_hold_a_line_separator(tmp_path: Path) -> None:
    table = tmp_path / "captions.jsonl"
    table.write_text('{"image": "a.jpg", "caption": "one\u2028two"}\n', encoding="utf-8")
    assert read_csv(table)[0].captions == ("one\u2028two",)
