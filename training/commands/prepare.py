"""`showtell-train prepare`: photos with captions or classes into records."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from model.config import MAX_WORDS
from training.commands.options import ANY, command_line, option, read_weights, reported
from training.data.captioned import CaptionedImage, read_coco, read_csv, read_flickr8k, read_folder, read_tsv
from training.data.labelled import LabelledImages, read_image_folder, read_mnist, read_tiny_imagenet
from training.provenance import recorded

if TYPE_CHECKING:
    from training.data.shards import Shard

    Written = tuple[list[Shard] | None, str]
    """The shards, None after a requested stop, and a line about them."""

_SHARD = option("--shard-images", type=click.IntRange(1), default=512, help="Most photos in a shard.")
_WORDS = (
    option("--min-count", type=click.IntRange(1), default=5, help="Fewest occurrences of a word that is kept."),
    option("--max-words", type=click.IntRange(1, MAX_WORDS), default=20, help="Words after which a caption is cut."),
)
_FRACTION = option(
    "--dev-fraction", type=click.FloatRange(0, 0.9), default=0.1,
    help="Share of the photos kept for dev, if the data has no split of its own.",
)  # fmt: skip
_DOWNLOAD = click.option(
    "--download", is_flag=True, help="Download the public archives into SOURCE first if they are missing."
)


@click.group()
def prepare() -> None:
    """Writes photos with captions or classes as sharded TFRecords.

    Every photo is decoded once. Damaged ones are named and left out, and the exit status is 1. Call a command
    again to continue after a stop, to add photos that could not be read, or to repair damaged shards.
    """


def _write_captions(
    out: Path, images: list[CaptionedImage], *, shard_images: int, min_count: int, max_words: int,
    weights: Mapping[str, float] = MappingProxyType({}),
) -> "Written":  # fmt: skip
    from model.vocabulary import Vocabulary
    from training.data.records import write_records

    train = [caption for image in images if image.split == "train" for caption in image.captions]
    vocabulary = Vocabulary.build(train, min_count=min_count)
    shards = write_records(out, images, vocabulary, shard_images=shard_images, max_words=max_words, weights=weights)
    return shards, f"vocabulary: {len(vocabulary)} tokens"


def _write_classes(out: Path, found: LabelledImages, *, shard_images: int) -> "Written":
    from training.data.records import write_class_records

    shards = write_class_records(out, found.images, found.classes, shard_images=shard_images)
    return shards, f"classes: {len(found.classes)}"


READERS: dict[str, Callable[..., list[CaptionedImage]]] = {
    "flickr8k": read_flickr8k, "coco": read_coco, "csv": read_csv, "folder": read_folder, "tsv": read_tsv,
}  # fmt: skip
"""Kinds of captioned sources that can be mixed."""

_OWN_SPLIT = ("flickr8k", "coco")
"""Kinds that have their own dev split."""


@prepare.command()
@click.argument("sources", nargs=-1, required=True)
@option("--out", type=ANY, required=True, help="Directory for the records.")
@option("--weight", "weights", multiple=True, help="NAME=NUMBER: weight of each caption of a source. Default: 1.")
@option(
    "--dev-fraction",
    type=click.FloatRange(0, 0.9),
    default=0.0,
    help="Share of the photos kept for dev, from sources without a split of their own.",
)
@_WORDS[0]
@_WORDS[1]
@_SHARD
@reported
def mix(sources: tuple[str, ...], out: Path, weights: tuple[str, ...], dev_fraction: float, **options: int) -> None:
    """Reads several captioned SOURCES, each given as NAME=KIND:PATH, into one set of records with one vocabulary.

    KIND is flickr8k, coco, csv, folder or tsv (captions.tsv beside images/, and dev.txt). Splits stay apart, and dev is
    scored by source.

    \b
    Example:
      showtell-train prepare mix flickr8k=flickr8k:data/flickr8k coco=tsv:data/coco_captions \\
          web=tsv:data/web_captions --weight coco=3 --min-count 4 --out runs/records
    """  # noqa: D301 - \b tells click not to wrap
    from training.data.mixing import Source, check_weights
    from training.data.mixing import mix as join

    given = read_weights(weights)
    found = []
    for name, kind, path in map(_source_words, sources):
        split = {} if kind in _OWN_SPLIT else {"dev_fraction": dev_fraction}
        found.append(Source(name, READERS[kind](path, **split), given.get(name, 1.0)))
    check_weights(given, [source.name for source in found])
    with recorded(out, command_line()):
        by_name = {source.name: source.weight for source in found}
        shards, summary = _write_captions(out, join(found), weights=by_name, **options)
    sys.exit(130 if shards is None else _report(shards, summary, out))


def _source_words(text: str) -> tuple[str, str, Path]:
    name, equals, rest = text.partition("=")
    kind, colon, path = rest.partition(":")
    if not (name and equals and colon and kind in READERS and Path(path).exists()):
        raise click.BadParameter(
            f"expected NAME=KIND:PATH with a KIND of {', '.join(READERS)} and a PATH that exists, received {text!r}",
            param_hint="SOURCES",
        )
    return name, kind, Path(path)


def _report(shards: "list[Shard]", summary: str, out: Path) -> int:
    """Prints what was written and returns the exit status."""
    from training.data.shards import count_records

    skipped = [line for shard in shards for line in shard.skipped]
    for line in skipped:
        click.echo(f"skipped {line}", err=True)
    for split in ("train", "dev"):
        click.echo(f"{split}: {count_records(shards, split)} photos")
    click.echo(f"{summary}; skipped: {len(skipped)} photos; written to {out}")
    return 1 if skipped else 0


def _add(
    name: str, read: Callable[..., Any], write: "Callable[..., Written]", *options: Callable[..., Any],
    text: str, example: str,
) -> None:  # fmt: skip
    """Adds a sub-command to `prepare` for one kind of source."""

    @reported
    def command(source: Path, out: Path, *, download: bool = False, **values: Any) -> None:
        if download:
            from training.data.public import fetch

            fetch(name, source)
        elif not source.exists():
            raise click.BadParameter(f"expected a file or directory, found none at {source}", param_hint="SOURCE")
        split = {option: values.pop(option) for option in ("dev_fraction",) if option in values}
        found = read(source, **split)
        with recorded(out, command_line()):
            shards, summary = write(out, found, **values)
        sys.exit(130 if shards is None else _report(shards, summary, out))

    decorators = [
        click.argument("source", type=ANY),
        option("--out", type=ANY, required=True, help="Directory for the records."),
        *options,
        _SHARD,
    ]
    for decorate in reversed(decorators):
        command = decorate(command)
    prepare.command(name, help=f"{text}\n\n\b\nExample:\n  showtell-train prepare {name} {example}")(command)


_add(
    "flickr8k", read_flickr8k, _write_captions, *_WORDS, _DOWNLOAD,
    text="Reads Flickr8k: SOURCE holds the token file, the lists and the photos.",
    example="data/flickr8k --out runs/records",
)  # fmt: skip
_add(
    "coco", read_coco, _write_captions, *_WORDS, _DOWNLOAD,
    text="Reads COCO captions: SOURCE holds annotations/ and the photo folders.",
    example="data/coco --download --out runs/records",
)  # fmt: skip
_add(
    "csv", read_csv, _write_captions, *_WORDS, _FRACTION,
    text="Reads SOURCE, a .csv or .jsonl with image and caption, and split where known.",
    example="captions.csv --out runs/records",
)  # fmt: skip
_add(
    "folder", read_folder, _write_captions, *_WORDS, _FRACTION,
    text="Reads a folder SOURCE of photos, each with its captions in a .txt beside it.",
    example="data/photos --dev-fraction 0.2 --out runs/records",
)  # fmt: skip
_add(
    "tsv", read_tsv, _write_captions, *_WORDS, _FRACTION,
    text="Reads a folder SOURCE with captions.tsv, a line name<TAB>caption each, images/, and dev.txt where known.",
    example="data/captions --out runs/records",
)  # fmt: skip
_add(
    "tiny-imagenet", read_tiny_imagenet, _write_classes, _DOWNLOAD,
    text="Reads Tiny ImageNet: SOURCE holds wnids.txt, words.txt, train/ and val/, which becomes dev. "
    "Classes are in the order of wnids.txt.",
    example="data/tiny-imagenet-200 --download --out runs/tiny-records",
)  # fmt: skip
_add(
    "mnist", read_mnist, _write_classes, _DOWNLOAD,
    text="Reads MNIST: SOURCE holds x_train.npy, y_train.npy, x_test.npy and y_test.npy, or mnist.npz, or the four idx "
    "files, also as .gz. The test images become dev.",
    example="data/mnist --download --out runs/mnist-records",
)  # fmt: skip
_add(
    "image-folder", read_image_folder, _write_classes, _FRACTION,
    text="Reads SOURCE with a sub-folder of photos for each class, called by its name: SOURCE/train/CLASS with "
    "SOURCE/val/CLASS or SOURCE/dev/CLASS, or SOURCE/CLASS alone. Classes are in the order of their names.",
    example="data/imagenette --out runs/class-records",
)  # fmt: skip
