from pathlib import Path

import pytest

from model.errors import DataError
from tests.training.stages import read_folder
from training.data.captioned import find_photos


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
