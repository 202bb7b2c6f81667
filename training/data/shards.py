"""Parallel writing of TFRecord files. A note beside each marks it as finished, so that a killed run can continue."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import tensorflow as tf
from tqdm import tqdm

from model.atomic import atomic_file
from model.errors import DataError, ImageError
from model.image import read_image
from model.manifest import sha256_of
from training.data.captioned import SPLITS, CaptionedImage
from training.data.labelled import LabelledImage
from training.progress import StopRequest, note, progress

THREADS = 8
"""Most shards written at once; beyond a few, threads wait for the GIL."""

AnyImage = TypeVar("AnyImage", CaptionedImage, LabelledImage)
Features = dict[str, tf.train.Feature]
"""Features of a record, by name."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One TFRecord file: its name, number of records, SHA-256, and the images that could not be read."""

    name: str
    records: int
    sha256: str
    skipped: tuple[str, ...]

    @property
    def split(self) -> str:
        """The split that the records belong to, `train`, `dev` or `test`."""
        return self.name.partition("-")[0]


def count_records(shards: Iterable[Shard], split: str) -> int:
    """Returns the number of records of a split."""
    return sum(shard.records for shard in shards if shard.split == split)


def write_shards(
    index: Path, images: Sequence[AnyImage], features: Callable[[AnyImage], Features], shard_images: int
) -> list[Shard] | None:
    """Writes the shards that are not finished, each in its own thread: decoding does not hold the GIL.

    Args:
        index: The file that marks a finished directory; removed before a shard is written.
        images: What to write; splits go to shards of their own.
        features: Returns a record's features besides `image`, the file's bytes, and `name`.
        shard_images: Most images in a shard.

    Returns:
        The shards in order, or None after a requested stop.

    Raises:
        DataError: The disk is full, or no image of a split can be read.
    """
    plan = _plan(index.parent, images, shard_images)
    stop = StopRequest()

    def finish(entry: tuple[Path, list[AnyImage]]) -> Shard | None:
        if stop.requested:
            return None
        shard = _finished_shard(entry[0])
        if shard is None:
            index.unlink(missing_ok=True)
            shard = _write_shard(*entry, features)
        return shard

    bar: tqdm[AnyImage] = progress([], "writing records", total=len(images), unit="photo")
    shards = []
    with bar, stop, ThreadPoolExecutor(min(os.cpu_count() or 1, THREADS)) as pool:
        # A shard that fails cancels those that have not begun.
        for shard, (_, chunk) in zip(pool.map(finish, plan), plan, strict=True):
            if shard is None:
                return None
            shards.append(shard)
            bar.update(len(chunk))
    for split in {image.split for image in images}:
        if count_records(shards, split) == 0:
            raise DataError(
                f"expected photos for the split {split} that can be read, found none; check the path of the photos"
            )
    return shards


def _plan(directory: Path, images: Sequence[AnyImage], shard_images: int) -> list[tuple[Path, list[AnyImage]]]:
    plan = []
    for split in SPLITS:
        chosen = [image for image in images if image.split == split]
        chunks = [chosen[start : start + shard_images] for start in range(0, len(chosen), shard_images)]
        names = (f"{split}-{i:05}-of-{len(chunks):05}.tfrecord" for i in range(len(chunks)))
        plan += [(directory / name, chunk) for name, chunk in zip(names, chunks, strict=True)]
    return plan


def _finished_shard(path: Path) -> Shard | None:
    """Returns a shard of an earlier run if it matches the note that was written after it; else None."""
    try:
        entry = json.loads(_note_of(path).read_text())
        shard = Shard(path.name, entry["records"], entry["sha256"], tuple(entry["skipped"]))
        found = sha256_of(path)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if found != shard.sha256:
        note(f"{path}: expected SHA-256 {shard.sha256}, found {found}: damaged, writing it again")
        return None
    # Photos that were skipped may be there by now.
    return None if shard.skipped else shard


def _write_shard(path: Path, images: Sequence[AnyImage], features: Callable[[AnyImage], Features]) -> Shard:
    skipped = []
    try:
        with atomic_file(path) as temporary:
            with tf.io.TFRecordWriter(str(temporary)) as writer:
                for image in images:
                    try:
                        data = image.read_bytes()
                        read_image(data)
                    except (OSError, ImageError) as error:
                        skipped.append(f"{image.path}: {error}")
                        continue
                    writer.write(_serialized(image, data, features(image)))
            digest = sha256_of(temporary)
    except tf.errors.OpError as error:
        raise DataError(f"{path}: expected to write it: {error.message}; free some space") from error
    shard = Shard(path.name, len(images) - len(skipped), digest, tuple(skipped))
    with atomic_file(_note_of(path)) as file:
        file.write_text(json.dumps({"records": shard.records, "sha256": digest, "skipped": skipped}))
    return shard


def _serialized(image: CaptionedImage | LabelledImage, data: bytes, features: Features) -> bytes:
    feature = {"image": bytes_feature([data]), "name": bytes_feature([image.name.encode()]), **features}
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    # In a fixed order, so that a shard written again is the same file.
    return bytes(example.SerializeToString(deterministic=True))


def bytes_feature(values: list[bytes]) -> tf.train.Feature:
    """Wraps byte strings for a record."""
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def integers_feature(values: list[int]) -> tf.train.Feature:
    """Wraps int64 values for a record."""
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _note_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
