"""The records that cannot be read: which they are, and the error that names them."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from model.errors import DataError, ImageError
from model.image import read_image
from training.data.records import read_index

_FRAME_BYTES = 16  # around a record's bytes: its length (8) and a CRC of each (4 + 4)


_GRAPH_PLACE = re.compile(r"\{\{.*?\}\}")


class Damage(NamedTuple):
    """A record that cannot be read.

    Attributes:
        shard: Its file.
        offset: The byte at which it begins there.
        told: What is wrong with it and what to do, to follow the place in a message.
    """

    shard: Path
    offset: int
    told: str


def locate_damage(directory: Path, split: str) -> Damage | None:
    """Finds the first record of a split that is damaged, cut off or missing at a shard's end.

    Args:
        directory: Finished records.
        split: `train`, `dev` or `test`.

    Returns:
        The record; None when all are whole.

    Raises:
        DataError: The directory is incomplete, or a shard is missing.
    """
    for path, records in _shards(directory, split):
        count = 0
        end = 0
        with contextlib.suppress(tf.errors.DataLossError):
            for offset, record in _records(path):
                count += 1
                end = offset + _FRAME_BYTES + len(record)
        if count < records:
            told = (
                "is damaged, expected a whole one; prepare the records again with the same command (a finished but "
                "damaged shard is rewritten)"
            )
            return Damage(path, end, told)
    return None


def locate_unreadable(directory: Path, split: str) -> Damage | None:
    """Finds the first record of a split whose photo cannot be decoded on this machine.

    Args:
        directory: Finished records, whole.
        split: `train`, `dev` or `test`.

    Returns:
        The record; None when all photos can be decoded.

    Raises:
        DataError: The directory is incomplete, or a shard is missing.
    """
    for path, _ in _shards(directory, split):
        for offset, record in _records(path):
            features = tf.train.Example.FromString(record).features.feature
            name = b"".join(features["name"].bytes_list.value).decode(errors="replace")
            try:
                read_image(b"".join(features["image"].bytes_list.value))
            except ImageError as error:
                told = (
                    f"holds the photo {name}, which cannot be decoded: {error}; delete this shard and prepare the "
                    "records again with the same command, which leaves such photos out"
                )
                return Damage(path, offset, told)
    return None


def damaged_records(directory: Path, split: str, error: Exception) -> DataError:
    """Builds the error that names the record behind an error of reading.

    Args:
        directory: Finished records.
        split: The split that was read.
        error: What reading raised, such as `tf.errors.DataLossError`.

    Returns:
        An error to be raised from `error`.
    """
    found = locate_damage(directory, split)
    if found is None and not isinstance(error, tf.errors.DataLossError):
        found = locate_unreadable(directory, split)
    if found is not None:
        return DataError(f"{found.shard}: record at byte {found.offset} {found.told}")
    # TensorFlow's messages begin with the place in its graph, and go on with a traceback of Python code that it called.
    first = _GRAPH_PLACE.sub("", str(error)).strip().partition("\n")[0]
    return DataError(f"{directory}: expected records of {split} that can be read: {first}; check the disk")


def _shards(directory: Path, split: str) -> Iterator[tuple[Path, int]]:
    for shard in read_index(directory):
        if shard.split == split:
            yield directory / shard.name, shard.records


def _records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yields the records of a shard with the byte at which each begins."""
    offset = 0
    for record in tf.data.TFRecordDataset(str(path)):
        data = bytes(record.numpy())
        yield offset, data
        offset += _FRAME_BYTES + len(data)
