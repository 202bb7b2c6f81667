"""Each form as its makers write it, and each with something broken."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from model.errors import DataError
from tests.training.data.forms import made
from training.data.forms.collect import Collected, read_captions
from training.data.forms.form import Reading

Photo = tuple[str, str, tuple[str, ...]]
"""Name, split and captions."""


def photos_of(collected: Collected) -> list[Photo]:
    return [(image.name, image.split, image.captions) for image in collected.images]


def read(path: Path, **options: object) -> Collected:
    return read_captions(path, dev_fraction=0, **options)  # type: ignore[arg-type]


def pair(name: str) -> tuple[str, ...]:
    return (f"A {name} .", f"Another {name} .")


CASES: dict[str, tuple[Callable[[Path], Path], str, list[Photo]]] = {
    "karpathy, flickr8k": (
        made.karpathy_flickr8k, "Karpathy's JSON: dataset_flickr8k.json has `images` with `sentences`",
        [("a.jpg", "train", pair("a")), ("b.jpg", "dev", pair("b")), ("c.jpg", "test", pair("c"))],
    ),
    "karpathy, coco": (
        made.karpathy_coco, "Karpathy's JSON: dataset_coco.json",
        [
            ("train2014/COCO_train2014_000000000000.jpg", "train", ("A man 0.",)),
            ("val2014/COCO_val2014_000000000001.jpg", "train", ("A man 1.",)),
            ("val2014/COCO_val2014_000000000002.jpg", "dev", ("A man 2.",)),
        ],
    ),
    "coco 2014": (
        lambda root: made.coco(root, 2014), "COCO's captions: captions_train2014.json",
        [
            ("COCO_train2014_000000000001.jpg", "train", ("A train photo 0.", "A train photo 1.")),
            ("COCO_val2014_000000000002.jpg", "dev", ("A val photo 0.", "A val photo 1.")),
        ],
    ),
    "coco 2017 in other folders": (
        lambda root: made.coco(root, 2017, photo_folder="images", annotations="annotations_trainval2017/annotations"),
        "COCO's captions: captions_train2017.json",
        [
            ("000000000001.jpg", "train", ("A train photo 0.", "A train photo 1.")),
            ("000000000002.jpg", "dev", ("A val photo 0.", "A val photo 1.")),
        ],
    ),
    "one file of coco": (
        lambda root: made.coco(root, 2017) / "annotations" / "captions_val2017.json", "COCO's captions",
        [("000000000002.jpg", "dev", ("A val photo 0.", "A val photo 1."))],
    ),
    "flickr8k": (
        made.flickr8k, "Flickr's token file: Flickr8k.token.txt has lines of name#number<TAB>caption",
        [
            (f"{name}.jpg", split, (f"A {name} number 0 .", f"A {name} number 1 ."))
            for name, split in (("a", "train"), ("b", "dev"), ("c", "test"))
        ],
    ),
    "flickr30k": (
        made.flickr30k, "Flickr's token file: results_20130124.token",
        [
            (
                "1000092795.jpg", "train",
                ("Two young guys with shaggy hair 0 .", "Two young guys with shaggy hair 1 ."),
            ),
        ],
    ),
    "kaggle's flickr30k": (
        made.kaggle_flickr30k, "a table: results.csv has the columns 'image_name' and 'comment', parted by '|'",
        [
            (
                "1000092795.jpg", "train",
                (
                    "Two young guys with shaggy hair look at their hands .",
                    '" Two young , White males are outside .',
                ),
            ),
            ("2199200615.jpg", "train", ("A dog runs .",)),
        ],
    ),
    "kaggle's flickr8k": (
        made.kaggle_flickr8k, "a table: captions.txt has the columns 'image' and 'caption', parted by ','",
        [("a.jpg", "train", ("A dog , running .", "A dog .")), ("b.jpg", "train", ("A cat .",))],
    ),
    "json lines": (
        made.json_lines, "a table: captions.jsonl has objects with 'image' and 'caption'",
        [
            ("a.jpg", "train", ("a dog",)), ("b.jpg", "dev", ("a cat", "two cats")),
            ("c.jpg", "train", ("a bus\u2028in the rain",)),
        ],
    ),
    "json array": (
        made.json_array, "a table: annotations.json has objects",
        [("photos/a.jpg", "train", ("a dog", "a black dog")), ("photos/b.jpg", "train", ("a cat",))],
    ),
    "captions.tsv": (
        made.house, "a table: captions.tsv has no header, and in its columns 'image' and 'caption', parted by '\\t'",
        [("a.jpg", "train", ("a dog", '"The" dog')), ("b.jpg", "dev", ("a cat",))],
    ),
    "sidecar": (
        made.sidecar, "photos with texts beside them: ",
        [("train/a.jpg", "train", ("a dog", "a black dog")), ("val/b.png", "dev", ("a cat",))],
    ),
    "img2dataset, files": (
        made.img2dataset_files, "(made by img2dataset)", [("00000/000000000.jpg", "train", ("a dog",))],
    ),
    "img2dataset, shards": (
        made.img2dataset_shards, "WebDataset's shards: 00000.tar is a tar (made by img2dataset)",
        [("000000000.jpg", "train", ("a dog",)), ("000000001.jpg", "train", ("a cat",))],
    ),
    "webdataset": (
        made.webdataset, "WebDataset's shards: flickr-test-000000.tar is a tar",
        [
            (f"sample{number}.png", split, ("a dog", "a black dog"))
            for number, split in ((3, "test"), (1, "train"), (2, "dev"))
        ],
    ),
    "hugging face": (
        made.huggingface, "a Hugging Face folder: test/metadata.jsonl lies beside photos",
        [
            ("c.jpg", "test", ("a test photo",)), ("a.jpg", "train", ("a train photo",)),
            ("b.jpg", "dev", ("a validation photo",)),
        ],
    ),
    "hugging face, csv": (
        made.huggingface_csv, "a Hugging Face folder: data/metadata.csv",
        [("a.jpg", "train", ("a dog", "a black dog"))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_form_is_known_and_read_as_its_makers_write_it(name: str, tmp_path: Path) -> None:
    make, found, expected = CASES[name]
    collected = read(make(tmp_path))
    assert found in collected.found
    assert "could be read as" not in collected.found or name.startswith("hugging face")
    assert photos_of(collected) == expected
    assert collected.missing == []
    assert all(image.read_bytes().startswith(b"photo") for image in collected.images)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (made.flickr8k, "left out: 2 records (2 in no list of a split)"),
        (made.kaggle_flickr30k, "left out: 1 records (1 expected 3 fields; put captions with '|' in quotes)"),
        (made.sidecar, "left out: 1 records (1 no caption beside it)"),
        (made.img2dataset_files, "left out: 1 captions (1 empty)"),
        (made.img2dataset_shards, "left out: 1 captions (1 empty)"),
    ],
)
def test_what_a_form_has_that_is_no_caption_is_told(make: Callable[[Path], Path], told: str, tmp_path: Path) -> None:
    assert told in read(make(tmp_path)).summary()


@pytest.mark.parametrize("year", [2014, 2017])
def test_of_two_years_of_coco_the_one_that_is_asked_for_is_read(year: int, tmp_path: Path) -> None:
    collected = read(made.coco(tmp_path, 2014, 2017), reading=Reading(year=year))
    assert {image.path.parent.name for image in collected.images} == {f"train{year}", f"val{year}"}
    with pytest.raises(DataError, match="expected the year 2015, found 2014 and 2017"):
        read(tmp_path, reading=Reading(year=2015))


def test_a_form_that_must_be_another_is_told_with_what_it_is(tmp_path: Path) -> None:
    path = made.karpathy_flickr8k(tmp_path)
    told = r"expected a table \(.*\), found Karpathy's JSON \(dataset_flickr8k\.json .*\); run `prepare auto`"
    with pytest.raises(DataError, match=told):
        read_captions(path, "csv")


def test_parquet_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = made.text(tmp_path / "a.parquet", "PAR1")
    with pytest.raises(DataError, match=r"expected pyarrow to read Parquet, .*`pip install '\.\[training,parquet\]'`"):
        read(path)


def test_a_directory_of_several_forms_says_so(tmp_path: Path) -> None:
    made.flickr8k(tmp_path)
    made.karpathy_flickr8k(tmp_path)
    collected = read(tmp_path)
    assert collected.found.endswith("; it could be read as flickr8k too")
    assert len(read_captions(tmp_path, "flickr8k").images) == 3


def test_one_bad_record_leaves_the_others(tmp_path: Path) -> None:
    made.coco(tmp_path, 2017)
    file = tmp_path / "annotations" / "captions_train2017.json"
    content = made.coco_file(tmp_path, "train", 2017, 1)
    content["annotations"] += [
        {"image_id": 99, "id": 5, "caption": "of no photo"}, {"image_id": 1, "id": 6, "caption": None}, 7,
    ]  # fmt: skip
    made.written(file, content)
    collected = read(tmp_path)
    assert len(collected.images) == 2
    assert collected.report.summary() == ["left out: 1 captions (1 null)", "left out: 2 records (2 of no image)"]
    assert all(str(file) in line for line in collected.report.lines)
