"""Sharded TFRecords of captioned photos, written so that a kill leaves nothing that looks whole and is not."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from model.atomic import atomic_file
from model.errors import DataError, ImageError
from model.image import read_image
from model.vocabulary import Vocabulary, tokenize
from training.datasets import CaptionedImage
from training.progress import StopRequest, progress

INDEX = "index.json"
PLAN = "plan.json"
VOCABULARY = "vocabulary.txt"
DEV_NAMES = "dev.txt"
"""File names of the photos kept for scoring, for `distill --exclude`."""

SPLITS = ("train", "dev")


@dataclass(frozen=True, slots=True)
class Shard:
    """Describes one TFRecord file: its name, number of records, SHA-256, and the images that could not be read."""

    name: str
    records: int
    sha256: str
    skipped: tuple[str, ...]


def write_records(
    directory: Path,
    images: Sequence[CaptionedImage],
    vocabulary: Vocabulary,
    *,
    shard_images: int = 512,
    max_words: int = 20,
) -> list[Shard] | None:
    """Writes captioned photos as TFRecords, going on where an interrupted run stopped.

    A record is a `tf.train.Example` with `image` (the file's bytes), `name`, `captions` (UTF-8 sentences), `tokens`
    (int64 ids of all captions, one after the other) and `lengths` (int64, the tokens of each). Captions without a word
    are left out. `index.json` is written last; a directory without it is incomplete.

    Args:
        directory: Where shards, vocabulary and index go.
        images: What to write; splits go to shards of their own.
        vocabulary: Encodes the captions.
        shard_images: Most photos in a shard.
        max_words: Words after which a caption is cut.

    Returns:
        The shards, or None after a requested stop.

    Raises:
        DataError: The directory holds the records of other photos or options, or no photo of a split can be read.
    """
    directory.mkdir(parents=True, exist_ok=True)
    images = [replace(image, captions=tuple(text for text in image.captions if tokenize(text))) for image in images]
    images = [image for image in images if image.captions]
    _check_plan(directory, images, vocabulary, shard_images, max_words)
    plan = []
    for split in SPLITS:
        chosen = [image for image in images if image.split == split]
        chunks = [chosen[start : start + shard_images] for start in range(0, len(chosen), shard_images)]
        plan += [(f"{split}-{i:05}-of-{len(chunks):05}.tfrecord", chunk) for i, chunk in enumerate(chunks)]
    shards = []
    with StopRequest() as stop:
        bar: tqdm[CaptionedImage] = progress([], "writing records", total=len(images), unit="photo")
        for name, chunk in stop.until_requested(plan):
            try:
                shard = _finished_shard(directory, name) or _write_shard(directory, name, chunk, vocabulary, max_words)
            except tf.errors.OpError as error:
                raise DataError(
                    f"{directory / name}: expected to write it: {error.message}; free some space"
                ) from error
            shards.append(shard)
            bar.update(len(chunk))
        bar.close()
    if len(shards) < len(plan):
        return None
    for split in {image.split for image in images}:
        if not any(shard.records for shard in shards if shard.name.startswith(f"{split}-")):
            raise DataError(
                f"expected photos for the split {split} that can be read, found none; check the path of the photos"
            )
    with atomic_file(directory / VOCABULARY) as file:
        vocabulary.save(file)
    with atomic_file(directory / DEV_NAMES) as file:
        file.write_text("".join(f"{image.path.name}\n" for image in images if image.split == "dev"), encoding="utf-8")
    entries = [{"name": s.name, "records": s.records, "sha256": s.sha256, "skipped": s.skipped} for s in shards]
    with atomic_file(directory / INDEX) as file:
        file.write_text(json.dumps({"shards": entries}, indent=1) + "\n")
    return shards


def read_index(directory: Path) -> list[Shard]:
    """Reads and checks the index of a finished directory of records.

    Raises:
        DataError: The directory is incomplete, or a shard is missing.
    """
    try:
        entries = json.loads((directory / INDEX).read_text())["shards"]
        shards = [Shard(e["name"], e["records"], e["sha256"], tuple(e["skipped"])) for e in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{directory}: expected finished records ({INDEX}); run `showtell-train prepare` to its end"
        ) from error
    missing = next((shard.name for shard in shards if not (directory / shard.name).is_file()), None)
    if missing is not None:
        raise DataError(f"{directory}: expected the shard {missing}, found none; prepare the records again")
    return shards


def shard_paths(directory: Path, split: str) -> list[str]:
    """Returns the paths of a split's shards, in order.

    Raises:
        DataError: The directory is incomplete or has no such split.
    """
    paths = [str(directory / shard.name) for shard in read_index(directory) if shard.name.startswith(f"{split}-")]
    if not paths:
        raise DataError(f"{directory}: expected records of the split {split}, found none; check how the data is split")
    return paths


def _check_plan(
    directory: Path, images: Sequence[CaptionedImage], vocabulary: Vocabulary, shard_images: int, max_words: int
) -> None:
    content = [(str(image.path), image.captions, image.split) for image in images]
    plan = json.dumps([content, vocabulary.words, shard_images, max_words]).encode()
    digest = hashlib.sha256(plan).hexdigest()
    file = directory / PLAN
    if file.exists() and file.read_text() != digest:
        raise DataError(f"{directory}: expected the records of the same photos and options; choose another directory")
    with atomic_file(file) as temporary:
        temporary.write_text(digest)


def _finished_shard(directory: Path, name: str) -> Shard | None:
    """Returns a shard of an earlier run: its note is written after it."""
    note = directory / f"{name}.json"
    if not note.exists() or not (directory / name).exists():
        return None
    entry = json.loads(note.read_text())
    if entry["skipped"]:
        return None  # the photos may be there by now
    return Shard(name, entry["records"], entry["sha256"], tuple(entry["skipped"]))


def _write_shard(
    directory: Path, name: str, images: Sequence[CaptionedImage], vocabulary: Vocabulary, max_words: int
) -> Shard:
    skipped = []
    with atomic_file(directory / name) as temporary:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for image in images:
                try:
                    data = image.path.read_bytes()
                    read_image(data)
                except (OSError, ImageError) as error:
                    skipped.append(f"{image.path}: {error}")
                    continue
                writer.write(_example(image, data, vocabulary, max_words))
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    shard = Shard(name, len(images) - len(skipped), digest, tuple(skipped))
    with atomic_file(directory / f"{name}.json") as note:
        note.write_text(json.dumps({"records": shard.records, "sha256": digest, "skipped": skipped}))
    return shard


def _example(image: CaptionedImage, data: bytes, vocabulary: Vocabulary, max_words: int) -> bytes:
    encoded = [vocabulary.encode(caption, max_words=max_words) for caption in image.captions]
    feature = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[data])),
        "name": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.name.encode()])),
        "captions": tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode() for text in image.captions])),
        "tokens": tf.train.Feature(int64_list=tf.train.Int64List(value=[token for ids in encoded for token in ids])),
        "lengths": tf.train.Feature(int64_list=tf.train.Int64List(value=[len(ids) for ids in encoded])),
    }
    return bytes(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
