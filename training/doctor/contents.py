"""Reads records for the checks: captions, and a hash of each photo. How much is read has a bound."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from training.data.damage import damaged_records
from training.data.photo_cache import photo_key
from training.data.records import read_index, read_kind, shard_paths
from training.data.shards import Shard, count_records
from training.doctor.evidence import Contents, Photo, Sample
from training.progress import progress


def read_contents(directory: Path, split: str, *, most: int, seed: int) -> Contents:
    """Reads the photos of a split, their pixels left alone.

    Args:
        directory: Finished records.
        split: `train` or `dev`.
        most: Photos after which no further shard is read; the seed chooses the shards.
        seed: Of that choice.

    Raises:
        DataError: The records are incomplete or damaged, or have no such split.
    """
    return _read(directory, split, most=most, seed=seed, kept=0)[0]


def read_sample(directory: Path, split: str, *, most: int, seed: int, photos: int) -> tuple[Contents, Sample]:
    """Reads the photos of a split as `read_contents` does, and the files of some that the seed chooses.

    Args:
        directory: Finished records.
        split: `train` or `dev`.
        most: Photos after which no further shard is read.
        seed: Of both choices.
        photos: Number of photos whose files are kept; fewer if there are fewer.

    Raises:
        DataError: As in `read_contents`.
    """
    return _read(directory, split, most=most, seed=seed, kept=photos)


def _read(directory: Path, split: str, *, most: int, seed: int, kept: int) -> tuple[Contents, Sample]:
    captioned = read_kind(directory) == "captions"
    shard_paths(directory, split)  # raises where there is no such split
    total = count_records(read_index(directory), split)
    shards = _chosen_shards([shard for shard in read_index(directory) if shard.split == split], most, seed)
    count = count_records(shards, split)
    places = set(np.random.default_rng(seed).choice(count, min(kept, count), replace=False).tolist())
    photos: list[Photo] = []
    sample: dict[int, bytes] = {}
    bar: tqdm[Photo] = progress([], f"reading {split}", total=count, unit="photo")
    with bar:
        try:
            paths = [str(directory / shard.name) for shard in shards]
            for place, record in enumerate(tf.data.TFRecordDataset(paths).as_numpy_iterator()):
                photo, data = _parsed(record)
                photos.append(photo)
                if place in places:
                    sample[place] = data
                bar.update()
        except tf.errors.DataLossError as error:
            raise damaged_records(directory, split, error) from error
    found = Sample([photos[place] for place in sample], list(sample.values()))
    return Contents(photos, total, captioned), found


def _chosen_shards(shards: list[Shard], most: int, seed: int) -> Sequence[Shard]:
    """Returns all shards, or some that hold as many photos as were asked for."""
    if sum(shard.records for shard in shards) <= most:
        return shards
    random.Random(seed).shuffle(shards)  # noqa: S311 - a sample, no secret
    chosen: list[Shard] = []
    while shards and sum(shard.records for shard in chosen) < most:
        chosen.append(shards.pop())
    return chosen


def _parsed(record: bytes) -> tuple[Photo, bytes]:
    fields = tf.train.Example.FromString(record).features.feature
    data = fields["image"].bytes_list.value[0]
    captions = tuple(text.decode() for text in fields["captions"].bytes_list.value)
    name = fields["name"].bytes_list.value[0].decode()
    return Photo(name, photo_key(data), captions, tuple(fields["lengths"].int64_list.value)), data
