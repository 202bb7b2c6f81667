"""Records that cannot be read: found, and named."""

from pathlib import Path

import pytest
import tensorflow as tf

from model.bundle import ClassName
from training.data.damage import damaged_records, locate_damage, locate_unreadable
from training.data.labelled import LabelledImage
from training.data.records import shard_paths, write_class_records

CLASSES = tuple(ClassName(f"n{index}", f"class {index}") for index in range(5))
NO_PHOTO = b"\xff\xd8\xff this is no photo"


def labelled(drawn: Path, count: int = 6) -> list[LabelledImage]:
    photos = sorted(drawn.glob("*.jpg"))[:count]
    return [LabelledImage(path, path.name, index % len(CLASSES), "train") for index, path in enumerate(photos)]


def located(directory: Path) -> tuple[Path, int]:
    """Returns the place of the damage that is found."""
    found = locate_damage(directory, "train")
    assert found is not None
    return found.shard, found.offset


def spoil(shard: Path, number: int) -> None:
    """Puts something else in the place of a record's photo."""
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(shard))]
    example = tf.train.Example.FromString(records[number])
    example.features.feature["image"].bytes_list.value[:] = [NO_PHOTO]
    records[number] = example.SerializeToString()
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for record in records:
            writer.write(record)


def test_whole_records_have_no_damage(drawn: Path, tmp_path: Path) -> None:
    write_class_records(tmp_path, labelled(drawn), CLASSES, shard_images=2)
    assert locate_damage(tmp_path, "train") is None


@pytest.mark.parametrize("place", ["length", "CRC of the length", "payload", "CRC of the payload"])
def test_a_flipped_bit_is_located(drawn: Path, tmp_path: Path, place: str) -> None:
    write_class_records(tmp_path, labelled(drawn), CLASSES, shard_images=3)
    shard = Path(shard_paths(tmp_path, "train")[1])
    content = bytearray(shard.read_bytes())
    first = 16 + int.from_bytes(content[:8], "little")
    second = 16 + int.from_bytes(content[first : first + 8], "little")
    content[first + {"length": 1, "CRC of the length": 9, "payload": 100, "CRC of the payload": second - 1}[place]] ^= 4
    shard.write_bytes(content)
    assert located(tmp_path) == (shard, first)
    error = damaged_records(tmp_path, "train", ValueError())
    assert f"{shard}: record at byte {first} is damaged" in str(error)
    assert "prepare the records again" in str(error)


@pytest.mark.parametrize("kept_bytes", [0, 5, 8, 11, 12, 13, 200, -1])
def test_a_shard_that_is_cut_off_is_located(drawn: Path, tmp_path: Path, kept_bytes: int) -> None:
    write_class_records(tmp_path, labelled(drawn, 2), CLASSES)
    (shard,) = map(Path, shard_paths(tmp_path, "train"))
    content = shard.read_bytes()
    first = 16 + int.from_bytes(content[:8], "little")
    shard.write_bytes(content[: first + kept_bytes] if kept_bytes >= 0 else content[:-1])
    assert located(tmp_path) == (shard, first)


def test_an_error_without_damage_keeps_its_words(drawn: Path, tmp_path: Path) -> None:
    write_class_records(tmp_path, labelled(drawn), CLASSES)
    assert "the disk hums" in str(damaged_records(tmp_path, "train", OSError("the disk hums")))


def test_a_photo_that_cannot_be_decoded_is_named_with_its_place_and_what_to_do(drawn: Path, tmp_path: Path) -> None:
    write_class_records(tmp_path, labelled(drawn), CLASSES, shard_images=3)
    assert locate_unreadable(tmp_path, "train") is None
    shard = Path(shard_paths(tmp_path, "train")[1])
    spoil(shard, 1)
    assert locate_damage(tmp_path, "train") is None
    first = 16 + int.from_bytes(shard.read_bytes()[:8], "little")
    error = str(damaged_records(tmp_path, "train", ValueError()))
    assert error.startswith(f"{shard}: record at byte {first} holds the photo photo-04.jpg, which cannot be decoded: ")
    assert "\n" not in error
    # What the error advises works.
    shard.unlink()
    write_class_records(tmp_path, labelled(drawn), CLASSES, shard_images=3)
    assert locate_unreadable(tmp_path, "train") is None


def test_only_the_first_line_of_an_error_is_told_and_no_place_in_a_graph(drawn: Path, tmp_path: Path) -> None:
    write_class_records(tmp_path, labelled(drawn), CLASSES)
    error = ValueError("{{function_node __wrapped__Next}} the disk hums\nTraceback (most recent call last):\n  File")
    told = str(damaged_records(tmp_path, "train", error))
    assert told == f"{tmp_path}: expected records of train that can be read: the disk hums; check the disk"
