"""Parquet, as Hugging Face `datasets` and img2dataset write it."""

from pathlib import Path
from typing import Any

import pytest

from model.errors import DataError
from tests.training.data.forms import made
from training.data.forms.collect import read_captions

pa = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")


def write(path: Path, columns: dict[str, Any], rows_in_a_group: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=rows_in_a_group)
    return path


def photo(name: str | None, content: bytes | None) -> dict[str, Any]:
    return {"bytes": content, "path": name}


def test_the_splits_of_a_data_set_with_photos_in_it(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("validation", 3), ("test", 6)):
        numbers = range(first, first + 3)
        columns = {
            "image": [photo(f"{number}.jpg", b"photo %d" % number) for number in numbers],
            "caption": [[f"a dog {number}", "a dog"] for number in numbers],
        }
        write(tmp_path / "data" / f"{split}-00000-of-00001.parquet", columns)
    collected = read_captions(tmp_path, dev_fraction=0)
    assert collected.found == "Parquet: test-00000-of-00001.parquet is Parquet"
    assert [(image.name, image.split) for image in collected.images] == [
        (f"{number}.jpg", split)
        for number, split in zip((6, 7, 8, 0, 1, 2, 3, 4, 5), ["test"] * 3 + ["train"] * 3 + ["dev"] * 3, strict=True)
    ]
    for image in collected.images:
        number = image.name[0]
        assert (image.read_bytes(), image.captions) == (f"photo {number}".encode(), (f"a dog {number}", "a dog"))


def test_what_img2dataset_downloaded_and_what_it_could_not(tmp_path: Path) -> None:
    path = write(tmp_path / "00000.parquet", {
        "key": ["0", "1", "2"], "jpg": [b"one", None, b"three"], "txt": ["a dog", None, ""],
        "url": ["http://x"] * 3, "status": ["success", "failed_to_download", "success"],
    })  # fmt: skip
    collected = read_captions(tmp_path, dev_fraction=0)
    assert [(image.name, image.read_bytes()) for image in collected.images] == [("00000-0-0", b"one")]
    assert collected.report.summary() == [
        "left out: 2 captions (1 null, 1 empty)", "left out: 1 records (1 expected a photo's file name)",
    ]  # fmt: skip
    assert str(path) in collected.report.lines[0]


def test_numbered_columns_splits_and_paths_of_photos(tmp_path: Path) -> None:
    made.photos(tmp_path, "a.jpg", "b.jpg")
    write(tmp_path / "all.parquet", {
        "image": ["a.jpg", "b.jpg"], "caption_0": ["a dog", "a cat"], "caption_1": ["two", None],
        "split": ["train", "test"],
    })  # fmt: skip
    images = read_captions(tmp_path / "all.parquet", dev_fraction=0).images
    assert [(image.path, image.captions, image.split) for image in images] == [
        (tmp_path / "a.jpg", ("a dog", "two"), "train"), (tmp_path / "b.jpg", ("a cat",), "test"),
    ]  # fmt: skip


def test_photos_beside_their_metadata(tmp_path: Path) -> None:
    made.photos(tmp_path / "train", "a.jpg")
    write(tmp_path / "train" / "metadata.parquet", {"file_name": ["a.jpg"], "text": ["a dog"]})
    (image,) = read_captions(tmp_path, dev_fraction=0).images
    assert (image.path, image.split) == (tmp_path / "train" / "a.jpg", "train")


def test_the_same_photo_in_two_files_is_one(tmp_path: Path) -> None:
    for split, caption in (("train", "a dog"), ("test", "a black dog")):
        columns = {"image": [photo(None, b"same"), photo(None, split.encode())], "caption": [caption, "another"]}
        write(tmp_path / f"{split}.parquet", columns)
    collected = read_captions(tmp_path, dev_fraction=0)
    assert sorted((image.split, image.captions[0]) for image in collected.images) == [
        ("test", "a black dog"), ("test", "another"), ("train", "another"),
    ]  # fmt: skip
    assert "photos in several splits, kept in test or else dev alone: 1" in collected.summary()


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"picture": ["a.jpg"], "words": ["a dog"]}, "the columns image and caption, found 'picture', 'words'"),
        ({"image": ["a.jpg"], "caption": pa.array([None], pa.string())}, r"row 0 of group 0: caption left out \(nul"),
        ({"image": pa.array([], pa.string()), "caption": pa.array([], pa.string())}, "it is empty"),
    ],
)  # fmt: skip
def test_parquet_without_captions_is_told(columns: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told):
        read_captions(write(tmp_path / "a.parquet", columns))


def test_damaged_parquet_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"image": ["a.jpg"] * 99, "caption": ["a dog"] * 99})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"a\.parquet: expected whole Parquet, received: ") as caught:
        read_captions(path)
    assert "\n" not in str(caught.value)
