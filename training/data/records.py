"""Sharded TFRecords of photos with captions or classes. After a kill, an incomplete directory is recognised as one."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType

from model.atomic import atomic_file
from model.bundle import CLASSES, ClassName, read_classes, write_classes
from model.errors import BundleError, DataError
from model.vocabulary import Vocabulary
from training.data.captioned import CaptionedImage
from training.data.labelled import LabelledImage
from training.data.language import DEFAULT_LANGUAGE, Language
from training.data.shards import Features, Shard, bytes_feature, integers_feature, write_shards

INDEX = "index.json"
PLAN = "plan.json"
VOCABULARY = "vocabulary.txt"
DEV_NAMES = "dev.txt"
"""File names of the photos kept for scoring, those of dev and test, for `distill --exclude`."""

KINDS = {"captions": "caption", "classes": "class"}
"""Kinds of records, with their names in messages."""

_PREPARE = {"captions": "prepare folder", "classes": "prepare image-folder"}


def write_records(
    directory: Path,
    images: Sequence[CaptionedImage],
    vocabulary: Vocabulary,
    *,
    shard_images: int = 512,
    max_words: int = 20,
    weights: Mapping[str, float] = MappingProxyType({}),
    language: Language = DEFAULT_LANGUAGE,
) -> list[Shard] | None:
    """Writes captioned photos as TFRecords; continues where an interrupted run stopped.

    A record is a `tf.train.Example` with `image` (the file's bytes), `name`, `captions` (UTF-8 sentences), `tokens`
    (int64 ids of all captions, one after the other) and `lengths` (int64, the tokens of each). Captions without a word
    are left out. `index.json` is written last; a directory without it is incomplete.

    Args:
        directory: Where shards, vocabulary and index go.
        images: What to write; splits go to shards of their own.
        vocabulary: Encodes the captions.
        shard_images: Most photos in a shard.
        max_words: Words after which a caption is cut.
        weights: How much a caption counts in training, by the source of its photo; see `training.data.mixing`.
        language: The captions' language, which says how their words are parted.

    Returns:
        The shards, or None after a requested stop.

    Raises:
        DataError: The directory holds the records of other photos or options, or no photo of a split can be read.
    """
    tokenizer = language.tokenizer
    images = [replace(image, captions=tuple(text for text in image.captions if tokenizer(text))) for image in images]
    images = [image for image in images if image.captions]
    content = [(str(image.path), image.captions, image.split) for image in images]
    # Records that were begun before there were languages have none in their plan.
    _check_plan(directory, [content, vocabulary.words, shard_images, max_words, *language.told().values()])

    def example(image: CaptionedImage) -> Features:
        encoded = [vocabulary.encode(text, max_words=max_words, tokenizer=tokenizer) for text in image.captions]
        return {
            "captions": bytes_feature([text.encode() for text in image.captions]),
            "tokens": integers_feature([token for ids in encoded for token in ids]),
            "lengths": integers_feature([len(ids) for ids in encoded]),
        }

    shards = write_shards(directory / INDEX, images, example, shard_images)
    if shards is None:
        return None
    with atomic_file(directory / VOCABULARY) as file:
        vocabulary.save(file)
    held_out = "".join(f"{image.path.name}\n" for image in images if image.split != "train")
    with atomic_file(directory / DEV_NAMES) as file:
        file.write_text(held_out, encoding="utf-8", errors="surrogateescape")
    told: dict[str, object] = {"weights": dict(weights)} if weights else {}
    _write_index(directory, "captions", shards, {"max_words": max_words} | told | language.told())
    return shards


def write_class_records(
    directory: Path, images: Sequence[LabelledImage], classes: Sequence[ClassName], *, shard_images: int = 512
) -> list[Shard] | None:
    """Writes labelled images as TFRecords; continues where an interrupted run stopped.

    A record is a `tf.train.Example` with `image` (the file's bytes), `name` and `label` (int64). `classes.json` names
    the labels in their order; `index.json` is written last.

    Args:
        directory: Where shards, classes and index go.
        images: What to write; splits go to shards of their own.
        classes: Id and label of each class, C of them.
        shard_images: Most images in a shard.

    Returns:
        The shards, or None after a requested stop.

    Raises:
        DataError: The directory holds the records of other images or options, or no image of a split can be read.
    """
    content = [(str(image.path), image.name, image.label, image.split) for image in images]
    _check_plan(directory, [content, list(classes), shard_images])
    shards = write_shards(
        directory / INDEX, images, lambda image: {"label": integers_feature([image.label])}, shard_images
    )
    if shards is None:
        return None
    with atomic_file(directory / CLASSES) as file:
        write_classes(file, classes)
    _write_index(directory, "classes", shards)
    return shards


def read_index(directory: Path) -> list[Shard]:
    """Reads and checks the index of a finished directory of records.

    Raises:
        DataError: The directory is incomplete, or a shard is missing.
    """
    _, shards = _read_index(directory)
    missing = next((shard.name for shard in shards if not (directory / shard.name).is_file()), None)
    if missing is not None:
        raise DataError(f"{directory}: expected the shard {missing}, found none; prepare the records again")
    return shards


def read_kind(directory: Path) -> str:
    """Returns what a finished directory's records hold: `captions` or `classes`.

    Raises:
        DataError: The directory is incomplete.
    """
    return _read_index(directory)[0]


def read_weights(directory: Path) -> dict[str, float]:
    """Returns the weight of a caption by the source of its photo; empty where there is only one source.

    Raises:
        DataError: The directory is incomplete.
    """
    _read_index(directory)
    return dict(json.loads((directory / INDEX).read_text()).get("weights", {}))


def read_language(directory: Path) -> Language:
    """Returns the language of a finished directory's captions; that of records which say nothing is English.

    Raises:
        DataError: The directory is incomplete, or says what this version does not know.
    """
    _read_index(directory)
    try:
        return Language.of(json.loads((directory / INDEX).read_text()))
    except DataError as error:
        raise DataError(f"{directory / INDEX}: {error}; prepare the records again with this version") from error


def read_max_words(directory: Path) -> int | None:
    """Returns the words after which captions were cut; None for records of earlier versions, which do not say.

    Raises:
        DataError: The directory is incomplete.
    """
    _read_index(directory)
    found = json.loads((directory / INDEX).read_text()).get("max_words")
    return None if found is None else int(found)


def has_split(directory: Path, split: str) -> bool:
    """Returns whether a finished directory has records of a split.

    Raises:
        DataError: The directory is incomplete, or a shard is missing.
    """
    return any(shard.split == split for shard in read_index(directory))


def check_kind(directory: Path, kind: str) -> None:
    """Checks the kind of a finished directory's records.

    Args:
        directory: The records.
        kind: `captions` or `classes`.

    Raises:
        DataError: They hold the other, or the directory is incomplete.
    """
    found = read_kind(directory)
    if found != kind:
        raise DataError(
            f"{directory}: expected {KINDS[kind]} records, found {KINDS[found]} records; "
            f"run `showtell-train {_PREPARE[kind]}` (or another source, see `showtell-train prepare --help`)"
        )


def read_record_classes(directory: Path) -> tuple[ClassName, ...]:
    """Reads the classes of a finished directory of class records, in the order of their labels.

    Raises:
        DataError: The directory is incomplete or holds captions, or `classes.json` is missing or damaged.
    """
    check_kind(directory, "classes")
    try:
        return read_classes(directory / CLASSES)
    except BundleError as error:
        raise DataError(f"{error}; prepare the records again") from error


def shard_paths(directory: Path, split: str) -> list[str]:
    """Returns the paths of a split's shards, in order.

    Raises:
        DataError: The directory is incomplete or has no such split.
    """
    paths = [str(directory / shard.name) for shard in read_index(directory) if shard.split == split]
    if not paths:
        raise DataError(f"{directory}: expected records of the split {split}, found none; check how the data is split")
    return paths


def _read_index(directory: Path) -> tuple[str, list[Shard]]:
    try:
        content = json.loads((directory / INDEX).read_text())
        # Records of earlier versions have no kind: they hold captions.
        kind = content.get("kind", "captions")
        shards = [Shard(e["name"], e["records"], e["sha256"], tuple(e["skipped"])) for e in content["shards"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{directory}: expected finished records ({INDEX}); run `showtell-train prepare` to its end"
        ) from error
    if kind not in KINDS:
        raise DataError(
            f"{directory / INDEX}: expected records of the kind {' or '.join(KINDS)}, found {kind!r}; "
            "prepare them again with this version"
        )
    return kind, shards


def _write_index(
    directory: Path, kind: str, shards: Sequence[Shard], told: Mapping[str, object] = MappingProxyType({})
) -> None:
    content = {"kind": kind, "shards": [asdict(shard) for shard in shards]}
    with atomic_file(directory / INDEX) as file:
        file.write_text(json.dumps(content | dict(told), indent=1) + "\n")


def _check_plan(directory: Path, plan: list[object]) -> None:
    digest = hashlib.sha256(json.dumps(plan).encode()).hexdigest()
    file = directory / PLAN
    if file.exists() and file.read_text() != digest:
        raise DataError(f"{directory}: expected the records of the same photos and options; choose another directory")
    with atomic_file(file) as temporary:
        temporary.write_text(digest)
