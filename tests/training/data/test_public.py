"""The public data sets, fetched from a server of our own and laid out as their readers expect."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from model.errors import DataError
from tests.training.data.shelf import BODY, Shelf, tree, zipped
from training.data.forms.collect import read_captions
from training.data.public import SOURCES, Source, fetch

CONTENTS = {
    "tiny-imagenet-200.zip": zipped({
        "tiny-imagenet-200/wnids.txt": b"n01443537\n", "tiny-imagenet-200/words.txt": b"n01443537\tgoldfish\n",
        "tiny-imagenet-200/train/n01443537/images/n01443537_0.JPEG": b"", "tiny-imagenet-200/test/images/t.JPEG": b"",
        "tiny-imagenet-200/val/val_annotations.txt": b"val_0.JPEG\tn01443537\t0\t32\t44\t62\n",
    }),
    "train2017.zip": zipped({"train2017/1.jpg": b""}),
    "val2017.zip": zipped({"val2017/2.jpg": b""}),
    "annotations_trainval2017.zip": zipped({
        f"annotations/captions_{split}2017.json": (
            b'{"images": [{"id": %d, "file_name": "%d.jpg"}], "annotations": [{"image_id": %d, "caption": "a dog"}]}'
            % (number, number, number)
        )
        for number, split in ((1, "train"), (2, "val"))
    }),
    "Flickr8k_text.zip": zipped({
        "Flickr8k.token.txt": b"1.jpg#0\tA dog .\n2.jpg#0\tA cat .\n", "Flickr_8k.trainImages.txt": b"1.jpg\n",
        "Flickr_8k.devImages.txt": b"2.jpg\n", "__MACOSX/._readme.txt": b"",
    }),
    "Flickr8k_Dataset.zip": zipped({"Flicker8k_Dataset/1.jpg": b"", "Flicker8k_Dataset/2.jpg": b""}),
    "mnist.npz": BODY,
}  # fmt: skip
"""Files laid out like the public ones, by name."""


def local(shelf: Shelf) -> MappingProxyType[str, tuple[Source, ...]]:
    """Puts the files on the shelf and returns the table with its addresses and checksums replaced."""
    shelf.files = {f"/{name}": content for name, content in CONTENTS.items()}

    def moved(source: Source) -> Source:
        name = source.url.rpartition("/")[2]
        checksum = "sha256:" + hashlib.sha256(CONTENTS[name]).hexdigest()
        return replace(source, url=f"{shelf.url}/{name}", checksum=checksum)

    return MappingProxyType({name: tuple(map(moved, sources)) for name, sources in SOURCES.items()})


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_data_set_is_fetched_once_and_no_archive_stays(shelf: Shelf, tmp_path: Path, name: str) -> None:
    sources = local(shelf)
    fetch(name, tmp_path / "data", sources=sources)
    there = tree(tmp_path / "data")
    assert shelf.statuses() == [200] * len(sources[name])
    assert not [path for path in there if path.endswith(".zip") or "MACOSX" in path]
    fetch(name, tmp_path / "data", sources=sources)
    assert tree(tmp_path / "data") == there
    assert len(shelf.asked) == len(sources[name])


def test_fetched_data_sets_lie_as_their_readers_expect(shelf: Shelf, tmp_path: Path) -> None:
    sources = local(shelf)
    for name in sources:
        fetch(name, tmp_path / name, sources=sources)
    for name in ("flickr8k", "coco"):
        found = read_captions(tmp_path / name, name).images
        assert sorted((image.split, image.path.is_file()) for image in found) == [("dev", True), ("train", True)]
    assert {path.name for path in (tmp_path / "tiny-imagenet").iterdir()} >= {"train", "val", "wnids.txt", "words.txt"}
    assert (tmp_path / "mnist" / "mnist.npz").read_bytes() == BODY


def test_photos_under_another_name_that_the_reader_knows_are_not_fetched(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    fetch("flickr8k", tmp_path, sources=local(shelf))
    assert len(shelf.asked) == 1
    assert not (tmp_path / "Flicker8k_Dataset").exists()


def test_fetching_goes_on_after_a_kill_between_two_moves(shelf: Shelf, tmp_path: Path) -> None:
    sources = local(shelf)
    (tmp_path / "tiny-imagenet-200.zip").write_bytes(CONTENTS["tiny-imagenet-200.zip"])
    (tmp_path / "wnids.txt").write_bytes(b"n01443537\n")
    fetch("tiny-imagenet", tmp_path, sources=sources)
    assert shelf.asked == []
    assert (tmp_path / "val").is_dir()


def test_an_archive_that_lacks_what_it_should_give_is_an_error(shelf: Shelf, tmp_path: Path) -> None:
    sources = dict(local(shelf))
    sources["coco"] = (replace(sources["coco"][0], gives=("captions",)),)
    with pytest.raises(DataError, match="expected it to hold captions"):
        fetch("coco", tmp_path, sources=sources)


def test_an_unknown_data_set_is_told_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tiny-imagenet, coco, flickr8k, mnist, received 'imagenet'"):
        fetch("imagenet", tmp_path)


def test_every_public_file_has_a_checksum() -> None:
    checksums = [source.checksum for sources in SOURCES.values() for source in sources]
    assert all(checksum and re.fullmatch("md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", checksum) for checksum in checksums)
    assert len(set(checksums)) == len(checksums) == 7
