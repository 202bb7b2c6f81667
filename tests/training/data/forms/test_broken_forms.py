"""Each form with something broken in it, and what is said."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from model.errors import DataError
from tests.training.data.forms import made
from training.data.forms.collect import read_captions


def without_photo(path: Path) -> Path:
    path.write_text(path.read_text().replace('"filename"', '"file"'))
    return path


def broken_coco(root: Path) -> Path:
    made.coco(root, 2017)
    for split in ("train", "val"):
        file = root / "annotations" / f"captions_{split}2017.json"
        file.write_text(file.read_text().replace('"image_id"', '"image"'))
    return root


def instances(root: Path) -> Path:
    return made.written(root / "captions_val2017.json", {"images": [], "categories": []})


def cut_tar(root: Path) -> Path:
    path = made.tar(root / "a.tar", {"1.jpg": b"photo" * 1000, "1.txt": b"a dog"})
    path.write_bytes(path.read_bytes()[:2000])
    return path


BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "karpathy without file names": (
        lambda root: without_photo(made.karpathy_flickr8k(root)),
        r"expected Karpathy's JSON \(dataset_coco\.json: .*image 0: record left out \(expected a photo's file name\)",
    ),
    "karpathy cut off": (
        lambda root: made.text(root / "dataset_coco.json", '{"images": [{"sentences": [', '{"raw": "a'),
        r"expected whole JSON, or a JSON object a line, found neither .*; get the file again",
    ),
    "two of karpathy's": (
        lambda root: made.karpathy_flickr8k(made.karpathy_coco(root)).parent,
        r"expected one file of captions, found dataset_coco\.json, dataset_flickr8k\.json; give the path",
    ),
    "coco without ids": (broken_coco, r"COCO's captions .*annotation 0: record left out \(of no image\)"),
    "coco of two years": (
        lambda root: made.coco(root, 2014, 2017), r"expected one year, found 2014 and 2017; .*with --year",
    ),
    "coco's other files": (
        lambda root: instances(root).parent, r"captions_val2017\.json: expected COCO's captions",
    ),
    "a token file of something else": (
        lambda root: made.text(root / "Flickr8k.token.txt", "no tab here").parent,
        r"expected Flickr's token file .*line 1: record left out \(expected name\.jpg#0<TAB>caption\): 'no tab here'",
    ),
    "kaggle's table without captions": (
        lambda root: made.text(root / "results.csv", "image_name| comment_number| comment"),
        r"expected a table .*, found no photo with a caption in it; it is empty",
    ),
    "a table without known columns": (
        lambda root: made.text(root / "captions.csv", "picture,words", "a.jpg,a dog"),
        r"captions\.csv: expected captions in a known form, such as Karpathy's JSON .*; Flickr's token file .*; a "
        r"table .*; found 'picture', 'words' in its first line",
    ),
    "json lines of something else": (
        lambda root: made.text(root / "a.jsonl", '{"x": 1}'), r"expected captions in a known form",
    ),
    "a spreadsheet called csv": (
        lambda root: made.text(root / "a.csv", "PK\x03\x04 and so on"), r"found a zip or a spreadsheet .*as CSV",
    ),
    "a compressed table": (
        lambda root: made.raw(root / "a.csv.gz", gzip.compress(b"image,caption")), "compressed by gzip",
    ),
    "texts without photos": (
        lambda root: made.text(root / "a.txt", "a dog").parent, r"expected captions in .*; found a\.txt; docs/own-data",
    ),
    "empty texts": (
        lambda root: made.text(made.photos(root, "a.jpg") / "a.txt", "").parent,
        r"photos with texts beside them .*a\.txt: caption left out \(empty\)",
    ),
    "a tar that was cut": (cut_tar, r"WebDataset's shards .*record left out \(a damaged tar; the rest of it is lost\)"),
    "hugging face without captions": (
        lambda root: made.text(root / "metadata.jsonl", '{"file_name": "a.jpg", "label": 3}').parent,
        r"a Hugging Face folder .*item 0: record left out \(expected a photo and a caption\)",
    ),
    "a data set on disk": (
        lambda root: made.text(root / "dataset_info.json", "{}").parent, r"saved by `save_to_disk`: write it with",
    ),
    "nothing": (lambda root: root / "nowhere", "expected a file or directory, found none; check the path"),
    "an empty directory": (lambda root: root, "found an empty directory"),
    "an empty file": (lambda root: made.text(root / "a.csv"), "found an empty file"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_form_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    make, told = BROKEN[name]
    with pytest.raises(DataError, match=told) as caught:
        read_captions(make(tmp_path))
    assert "\n" not in str(caught.value)
