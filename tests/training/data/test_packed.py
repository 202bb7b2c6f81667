"""Packed photos: what is written is read, each photo once."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.errors import DataError
from model.image import read_image
from model.vocabulary import SPECIAL, Vocabulary
from training.data.labelled import UNKNOWN, class_of
from training.data.packed import MOST_CAPTIONS, PIXELS, SPLITS, TABLE, Sentences, pack, read_packed

KNOWN = {"n01440764": 0, "n02099601": 207}
QUALITY = 95
WORDS = Vocabulary([*SPECIAL, *"abcdefg"])


@pytest.fixture
def folder(drawn: Path, tmp_path: Path) -> Path:
    """Returns photos: one in a folder of its class, one with its class in its name, and one twice."""
    photos = sorted(drawn.glob("*.jpg"))
    folder = tmp_path / "photos"
    (folder / "n02099601").mkdir(parents=True)
    shutil.copy(photos[0], folder / "n02099601" / "one.jpg")
    shutil.copy(photos[1], folder / "n01440764_tench.jpg")
    shutil.copy(photos[2], folder / "three.jpg")
    shutil.copy(photos[2], folder / "three-again.jpg")
    return folder


def packed(folder: Path, drawn: Path, to: Path, *, held_out: frozenset[str] = frozenset()) -> Path:
    photos = sorted(drawn.glob("*.jpg"))
    captioned = [
        (photos[0].read_bytes(), Sentences("a:one.jpg", "train", [[4, 5, 1], [6, 1]], 3.0)),
        (photos[3].read_bytes(), Sentences("a:four.jpg", "dev", [[7, 8, 9, 1]], 1.0)),
    ]
    pack(to, captioned, WORDS, sorted(folder.rglob("*.jpg")), held_out, KNOWN, QUALITY)
    return to


def test_what_is_packed_is_read(folder: Path, drawn: Path, tmp_path: Path) -> None:
    found = read_packed(packed(folder, drawn, tmp_path / "packed", held_out=frozenset({"n01440764_tench.jpg"})))
    assert list(found.names) == ["a:one.jpg", "a:four.jpg", "n01440764_tench.jpg", "three-again.jpg"]
    assert [SPLITS[number] for number in found.splits] == ["train", "dev", "held_out", "train"]
    assert found.labels.tolist() == [207, UNKNOWN, 0, UNKNOWN]
    assert found.weights.tolist() == [3, 1, 0, 0]
    assert found.tokens[0].tolist() == [[4, 5, 1, 0], [6, 1, 0, 0]]
    assert found.tokens[1].tolist() == [[7, 8, 9, 1], [0, 0, 0, 0]]
    assert not found.tokens[2:].any()
    original = read_image(sorted(drawn.glob("*.jpg"))[0].read_bytes()).pixels
    assert np.abs(found.pixels[0].astype(int) - original).mean() < 5
    assert found.vocabulary == WORDS
    assert found.rows("train").tolist() == [0, 3]
    assert found.rows("train", captioned=True).tolist() == [0]


def test_a_photo_has_no_more_captions_than_are_padded_to(drawn: Path, tmp_path: Path) -> None:
    photo = min(drawn.glob("*.jpg"))
    texts = [[3 + number, 1] for number in range(MOST_CAPTIONS + 2)]
    pack(tmp_path, [(photo.read_bytes(), Sentences("a", "train", texts, 1.0))], WORDS, [], frozenset(), {}, QUALITY)
    assert read_packed(tmp_path).tokens[0].tolist() == texts[:MOST_CAPTIONS]


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("n02099601/photo.jpg", 207),
        ("n02099601/images/n01440764_2.jpg", 0),
        ("n01440764/images/photo.jpg", 0),
        ("n99999999/photo.jpg", UNKNOWN),
        ("n024_n01440764.jpg", UNKNOWN),
        ("n014407640.jpg", UNKNOWN),
    ],
)
def test_a_class_is_read_from_names_and_folders(path: str, label: int) -> None:
    assert class_of(Path(path), KNOWN) == label


def test_unreadable_photos_are_named_and_nothing_is_written(folder: Path, drawn: Path, tmp_path: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"no photo")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        packed(folder, drawn, tmp_path / "packed")
    assert not list((tmp_path / "packed").iterdir())


@pytest.mark.parametrize(
    "damage",
    [
        lambda root: (root / TABLE).unlink(),
        lambda root: (root / PIXELS).unlink(),
        lambda root: (root / TABLE).write_bytes(b"no table"),
        lambda root: (root / PIXELS).write_bytes((root / PIXELS).read_bytes()[:-1]),
    ],
)
def test_damaged_packs_are_refused(damage: Callable[[Path], object], folder: Path, drawn: Path, tmp_path: Path) -> None:
    root = packed(folder, drawn, tmp_path / "packed")
    damage(root)
    with pytest.raises(DataError, match="pack"):
        read_packed(root)
