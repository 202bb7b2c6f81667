"""Tables as spreadsheets, pandas and people write them."""

import re
from pathlib import Path

import pytest

from model.errors import DataError
from tests.training.data.forms import made
from training.data.forms.collect import Collected, read_captions
from training.data.forms.form import Reading


def read(path: Path, **options: str) -> Collected:
    reading = Reading(encoding=options.get("encoding"))
    return read_captions(path, dev_fraction=0, reading=reading)


def table(root: Path, content: str | bytes, name: str = "captions.csv") -> Path:
    made.photos(root, "a.jpg", "b.jpg", "c.jpg")
    (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root / name


def captions(collected: Collected) -> dict[str, tuple[str, ...]]:
    return {image.name: image.captions for image in collected.images}


TWO = {"a.jpg": ("a dog, running",), "b.jpg": ("un café",)}
ROWS = 'image,caption\na.jpg,"a dog, running"\nb.jpg,un café\n'


@pytest.mark.parametrize(
    "content",
    [
        ROWS,
        ROWS.encode("utf-8-sig"),
        ROWS.replace("\n", "\r\n").encode("utf-8-sig"),
        ROWS.replace("\n", "\r"),
        ROWS.encode("utf-16"),
        ROWS.encode("utf-16-le"),
        ROWS.encode("utf-16-be"),
        ROWS.encode("utf-32"),
        "image;caption\na.jpg;a dog, running\nb.jpg;un café\n",
        "image\tcaption\na.jpg\ta dog, running\nb.jpg\tun café\n",
        "image^caption\na.jpg^a dog, running\nb.jpg^un café\n",
        " Image | Caption \n a.jpg | a dog, running \n b.jpg | un café \n",
        '"image","caption"\n"a.jpg","a dog, running"\n"b.jpg","un café"\n',
        ',file_name,width,TEXT\n0,a.jpg,9,"a dog, running"\n1,./b.jpg,9,un café\n',
        'caption,image_path\n"a dog, running",a.jpg\nun café,b.jpg\n',
        'a.jpg,"a dog, running"\nb.jpg,un café\n',
        "a.jpg\t0\ta dog, running\nb.jpg\t0\tun café\n",
        '\n\nimage,caption\n\na.jpg,"a dog, running"\n\nb.jpg,un café\n\n',
        'image,captions\na.jpg,"[\'a dog, running\']"\nb.jpg,"[""un café""]"\n',
    ],
)
def test_a_table_is_read_however_it_is_written(content: str | bytes, tmp_path: Path) -> None:
    collected = read(table(tmp_path, content))
    assert captions(collected) == TWO
    assert (collected.report.lines, collected.missing) == ([], [])


def test_other_encodings_are_read_where_they_are_named(tmp_path: Path) -> None:
    path = table(tmp_path, ROWS.encode("latin-1"))
    with pytest.raises(DataError, match=r"line 3: expected UTF-8, found the byte 0xe9; say which .*--encoding latin-1"):
        read(path)
    assert captions(read(path, encoding="latin-1")) == TWO
    for encoding in ("klingon", "base64", "utf-8"):
        with pytest.raises(DataError, match=r"expected a name that Python knows|expected utf-8, found the byte 0xe9"):
            read(path, encoding=encoding)


def test_quotes_that_are_none_and_lines_in_quotes_cost_no_other_record(tmp_path: Path) -> None:
    lines = [
        "image,caption", 'a.jpg,"two', 'lines, ""really"""', 'b.jpg,"an open quote', "c.jpg,the next",
        'a.jpg,a "big" dog', 'b.jpg,"big" dog', "c.jpg,one, two", "c.jpg",
    ]  # fmt: skip
    collected = read(table(tmp_path, "\n".join([*lines, *["b.jpg,again"] * 30])))
    found = captions(collected)
    assert found["a.jpg"] == ('two\nlines, "really"', 'a "big" dog')
    assert found["b.jpg"] == ('"an open quote', '"big" dog', *["again"] * 30)
    assert found["c.jpg"] == ("the next",)
    assert [re.findall(r", line (\d+): record", line) for line in collected.report.lines] == [["8"], ["9"]]
    assert "expected 2 fields; put captions with ',' in quotes" in collected.report.lines[0]


def test_several_columns_of_captions_are_captions_all(tmp_path: Path) -> None:
    content = "image,caption_0,caption_1,comment_number\na.jpg,a dog,two dogs,7\nb.jpg,a cat,,7\n"
    collected = read(table(tmp_path, content))
    assert captions(collected) == {"a.jpg": ("a dog", "two dogs"), "b.jpg": ("a cat",)}
    assert collected.report.summary() == ["left out: 1 captions (1 empty)"]


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_tables_called_after_splits_are_read_together(name: str, tmp_path: Path) -> None:
    for letter, split in zip("abc", ("train", "val", "test"), strict=True):
        table(tmp_path, f"image,caption\n{letter}.jpg,a {split} photo\n", f"{split}.csv")
    assert {image.name: image.split for image in read(tmp_path).images} == {
        "a.jpg": "train", "b.jpg": "dev", "c.jpg": "test",
    }  # fmt: skip
    alone = read(tmp_path / f"{name}.csv").images
    assert [image.split for image in alone] == [{"val": "dev"}.get(name, name)]


def test_of_several_tables_one_must_be_named(tmp_path: Path) -> None:
    table(tmp_path, ROWS)
    table(tmp_path, ROWS, "train.csv")
    with pytest.raises(
        DataError, match=r"expected one file of captions, found captions\.csv, train\.csv; give the path"
    ):
        read(tmp_path)


def test_json_that_is_a_line_each_and_json_that_is_broken_in_places(tmp_path: Path) -> None:
    path = table(tmp_path, '{"image": "a.jpg", "caption": "a dog"}\n{"image": "b.jpg", "capt\n\n[1]\n', "a.jsonl")
    collected = read(path)
    assert captions(collected) == {"a.jpg": ("a dog",)}
    assert [line.split(":")[0] for line in collected.report.lines] == [f"{path}, line 2", f"{path}, line 4"]


@pytest.mark.parametrize(
    "content",
    [
        '{"a.jpg": "a dog", "b.jpg": ["a cat", "two cats"]}',
        '{"dataset": "mine", "data": [{"image": "a.jpg", "caption": "a dog"}, '
        '{"image": "b.jpg", "caption": ["a cat", "two cats"]}]}',
    ],
)
def test_rows_within_an_object_are_a_table_too(content: str, tmp_path: Path) -> None:
    expected = {"a.jpg": ("a dog",), "b.jpg": ("a cat", "two cats")}
    assert captions(read(table(tmp_path, content, "a.json"))) == expected


def test_a_tar_of_photos_beside_a_table_is_left_alone(tmp_path: Path) -> None:
    table(tmp_path, ROWS)
    made.tar(tmp_path / "photos.tar", {"photos/a.jpg": b"photo", "photos/b.jpg": b"another", "photos/c.txt": b"mine"})
    assert captions(read(tmp_path)) == TWO


def test_a_single_object_is_a_table_too(tmp_path: Path) -> None:
    path = table(tmp_path, '{"image": "a.jpg",\n "caption": "a dog"}', "a.json")
    assert captions(read(path)) == {"a.jpg": ("a dog",)}
