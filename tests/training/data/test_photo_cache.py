"""What networks say of photos: kept under the photos' bytes, and computed once whatever happens in between."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model.errors import DataError
from model.image import read_image
from training.data.photo_cache import VIEWS, PhotoCache, View, fill, photo_key

SHAPES = {"corner": (3,), "mean": (1,)}


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Returns seven small photos whose left upper corner tells them apart."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(7):
        image = Image.new("RGB", (224, 224), (10 * index, 200, 90))
        image.paste((1, 2, 3 + index), (112, 0, 224, 224))
        image.save(folder / f"{index}.png")
    return sorted(folder.iterdir())


class Network:
    """Answers with an image's first pixel, and remembers how many it has seen."""

    def __init__(self, fails_at: int = 10**9) -> None:
        self.seen = 0
        self._fails_at = fails_at

    def __call__(self, images: npt.NDArray[np.uint8]) -> Mapping[str, npt.NDArray[Any]]:
        self.seen += len(images)
        if self.seen > self._fails_at:
            raise KeyboardInterrupt
        return {"corner": images[:, 0, 0], "mean": np.full((len(images), 1), 1e9)}


def filled(
    directory: Path, paths: Sequence[Path], network: Network, *, views: Sequence[View] = VIEWS, source: str = "a"
) -> PhotoCache:
    assert fill(directory, source, SHAPES, network, paths, views, batch_size=2, shard_photos=3)
    return PhotoCache(directory, source)


def test_every_photo_is_found_by_its_bytes_in_both_views(tmp_path: Path, photos: list[Path]) -> None:
    cache = filled(tmp_path / "cache", photos, Network())
    assert (len(cache), cache.shapes) == (14, SHAPES)
    for photo in photos:
        data = photo.read_bytes()
        pixels = read_image(data).pixels
        np.testing.assert_array_equal(cache.read("corner", photo_key(data)), pixels[0, 0])
        np.testing.assert_array_equal(cache.read("corner", photo_key(data), "mirrored"), pixels[0, -1])
    assert cache.read("mean", photo_key(data)) == np.finfo(np.float16).max


def test_what_is_there_is_not_asked_again(tmp_path: Path, photos: list[Path]) -> None:
    first = Network()
    second = Network()
    third = Network()
    filled(tmp_path / "cache", photos[:4], first, views=["whole"])
    copy = tmp_path / "photos" / "copy-of-0.png"
    copy.write_bytes(photos[0].read_bytes())
    filled(tmp_path / "cache", [copy, *photos], second, views=["whole"])
    assert len(filled(tmp_path / "cache", [*photos, copy], third)) == 14
    assert (first.seen, second.seen, third.seen) == (4, 3, 7)


@pytest.mark.parametrize("fails_at", [1, 3, 5, 9, 13])
def test_a_kill_loses_one_file_at_most(tmp_path: Path, photos: list[Path], fails_at: int) -> None:
    killed = Network(fails_at)
    again = Network()
    with pytest.raises(KeyboardInterrupt):
        filled(tmp_path / "cache", photos, killed)
    kept = len(PhotoCache(tmp_path / "cache"))
    assert kept > fails_at - 2 - 3
    cache = filled(tmp_path / "cache", photos, again)
    assert (len(cache), again.seen) == (14, 14 - kept)


def test_arrays_without_their_note_count_for_nothing(tmp_path: Path, photos: list[Path]) -> None:
    filled(tmp_path / "cache", photos, Network())
    (tmp_path / "cache" / "shard-00004.json").unlink()
    again = Network()
    assert len(filled(tmp_path / "cache", photos, again)) == 14
    assert 0 < again.seen <= 3


def test_another_network_and_an_empty_directory_are_refused(tmp_path: Path, photos: list[Path]) -> None:
    with pytest.raises(DataError, match="found none"):
        PhotoCache(tmp_path)
    cache = filled(tmp_path / "cache", photos, Network(), views=["whole"])
    with pytest.raises(DataError, match="another's; choose another directory"):
        filled(tmp_path / "cache", photos, Network(), source="b")
    with pytest.raises(DataError, match=r"expected corner of every photo \(mirrored\)"):
        cache.read("corner", photo_key(photos[0].read_bytes()), "mirrored")


def test_a_photo_that_cannot_be_read_is_named(tmp_path: Path, photos: list[Path]) -> None:
    photos[5].write_bytes(b"no photo")
    with pytest.raises(DataError, match=r"5\.png: expected a photo that can be read"):
        filled(tmp_path / "cache", photos, Network())
