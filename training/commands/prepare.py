"""`showtell-train prepare`: photos with captions or classes into records."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from training.commands.groups import Listing
from training.commands.options import ANY, STOPPED, command_line, option, read_weights, reported
from training.commands.sources import READING, print_counts, read_given, read_source, reader_of
from training.commands.words import WORDS, build_vocabulary, tell_language
from training.data.captioned import SPLITS, CaptionedImage
from training.data.labelled import LabelledImages, read_image_folder, read_mnist, read_tiny_imagenet
from training.provenance import recorded

if TYPE_CHECKING:
    from training.data.shards import Shard

    Written = tuple[list[Shard] | None, str]
    """The shards, None after a requested stop, and a line about them."""

_SHARD = option("--shard-images", type=click.IntRange(1), default=512, help="Most photos in a shard.")
_FRACTION = option(
    "--dev-fraction", type=click.FloatRange(0, 0.9), default=0.1,
    help="Share of the photos kept for dev, if the data has no split of its own.",
)  # fmt: skip
_DOWNLOAD = click.option(
    "--download", is_flag=True, help="Download the public archives into SOURCE first if they are missing."
)


_CAPTIONS = (*READING, *WORDS, _FRACTION)
_READING_NAMES = ("photos", "encoding", "year", "report", "dev_fraction")
"""Options that go to a reader; all others go to the writer."""


def _reading(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of reading captions, and of their words."""
    for decorate in reversed((*READING, *WORDS)):
        function = decorate(function)
    return function


@click.group(cls=Listing)
def prepare() -> None:
    """Writes photos with captions or classes as sharded TFRecords.

    Every photo is decoded once. Damaged ones are named and left out, and the exit status is 1. Call a command
    again to continue after a stop, to add photos that could not be read, or to repair damaged shards.
    """


def _write_captions(
    out: Path, images: list[CaptionedImage], *, shard_images: int, min_count: int, max_words: int,
    vocabulary_size: int | None, segmentation: str, language: str | None,
    weights: Mapping[str, float] = MappingProxyType({}),
) -> "Written":  # fmt: skip
    from training.data.records import write_records

    told = tell_language(images, segmentation, language)
    vocabulary = build_vocabulary(images, told, min_count, vocabulary_size)
    shards = write_records(
        out, images, vocabulary, shard_images=shard_images, max_words=max_words, weights=weights, language=told
    )
    return shards, f"vocabulary: {len(vocabulary)} tokens"


def _write_classes(out: Path, found: LabelledImages, *, shard_images: int) -> "Written":
    from training.data.records import write_class_records

    shards = write_class_records(out, found.images, found.classes, shard_images=shard_images)
    return shards, f"classes: {len(found.classes)}"


@prepare.command()
@click.argument("source", type=ANY)
@option("--out", type=ANY, help="Directory for the records; without it, nothing is written.")
@_reading
@_FRACTION
@_SHARD
@reported
def auto(source: Path, out: Path | None, **options: Any) -> None:
    """Finds out which form the captions in SOURCE have, says why, and reads them.

    Known are Karpathy's JSON, COCO, Flickr8k and Flickr30k, CSV and its relatives, JSON, WebDataset, img2dataset,
    Hugging Face folders, Parquet, and photos with a .txt beside each; docs/own-data.md has them all.

    \b
    Example:
      showtell-train prepare auto data/dataset_flickr8k.json --photos data/Images --out runs/records
    """  # noqa: D301 - \b tells click not to wrap
    images = read_source(source, **{name: options.pop(name) for name in _READING_NAMES})
    if out is None:
        tell_language(images, options["segmentation"], options["language"])
        print_counts(images)
        click.echo("nothing written; give --out DIRECTORY to write records")
        return
    with recorded(out, command_line()):
        shards, summary = _write_captions(out, images, **options)
    sys.exit(STOPPED if shards is None else _report(shards, summary, out))


@prepare.command()
@click.argument("sources", nargs=-1, required=True)
@option("--out", type=ANY, required=True, help="Directory for the records.")
# What `*NUMBER` says now; hidden, but recorded commands have it.
@option("--weight", "weights", multiple=True, hidden=True)
@option(
    "--dev-fraction",
    type=click.FloatRange(0, 0.9),
    default=0.0,
    help="Share of the photos kept for dev, from sources that have none of their own.",
)
@_reading
@_SHARD
@reported
def mix(
    sources: tuple[str, ...], out: Path, weights: tuple[str, ...], dev_fraction: float, report: Path | None,
    photos: Path | None, encoding: str | None, year: int | None, **options: Any,
) -> None:  # fmt: skip
    """Reads several captioned SOURCES into one set of records with one vocabulary.

    A source is [NAME=][KIND:]PATH[*WEIGHT]. Its form is found out as `prepare auto` does, or is the KIND that is
    given. Each of its captions counts WEIGHT times, 1 by default. NAME is that of the path if none is given. No photo
    is in two splits, and dev is scored by source.

    \b
    Example:
      showtell-train prepare mix data/flickr8k 'coco=data/coco_captions*3' 'data/web_captions*0.5' \\
          --min-count 4 --out runs/records
    """  # noqa: D301 - \b tells click not to wrap
    from training.data.mixing import Source, check_weights
    from training.data.mixing import mix as join

    given = [read_given(text) for text in sources]
    apart = read_weights(weights)
    twice = next((source.name for source in given if source.weight is not None and source.name in apart), None)
    if twice is not None:
        raise click.BadParameter(f"expected one weight of {twice}, received two; leave --weight out")
    check_weights(apart, [source.name for source in given])
    found = []
    for name, kind, path, weight in given:
        listed = None if report is None else report.with_name(f"{report.stem}-{name}{report.suffix}")
        images = read_source(
            path, kind, dev_fraction=dev_fraction, report=listed, label=f"{name}: ",
            photos=photos, encoding=encoding, year=year,
        )  # fmt: skip
        found.append(Source(name, images, apart.get(name, 1.0) if weight is None else weight))
    joined, counts = join(found)
    for text, count in counts.items():
        if count:
            click.echo(f"{text}: {count}")
    with recorded(out, command_line()):
        by_name = {source.name: source.weight for source in found}
        shards, summary = _write_captions(out, joined, weights=by_name, **options)
    sys.exit(STOPPED if shards is None else _report(shards, summary, out))


def _report(shards: "list[Shard]", summary: str, out: Path) -> int:
    """Prints what was written and returns the exit status."""
    from training.data.shards import count_records

    skipped = [line for shard in shards for line in shard.skipped]
    for line in skipped:
        click.echo(f"skipped {line}", err=True)
    for split in SPLITS:
        count = count_records(shards, split)
        if count or split != "test":
            click.echo(f"{split}: {count} photos")
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
        found = read(source, **{name: values.pop(name) for name in _READING_NAMES if name in values})
        with recorded(out, command_line()):
            shards, summary = write(out, found, **values)
        sys.exit(STOPPED if shards is None else _report(shards, summary, out))

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
    "flickr8k", reader_of("flickr8k"), _write_captions, *_CAPTIONS, _DOWNLOAD,
    text="Reads Flickr8k or Flickr30k: SOURCE holds the token file, the lists and the photos.",
    example="data/flickr8k --out runs/records",
)  # fmt: skip
_add(
    "coco", reader_of("coco"), _write_captions, *_CAPTIONS, _DOWNLOAD,
    text="Reads COCO captions: SOURCE holds annotations/ and the photo folders.",
    example="data/coco --download --out runs/records",
)  # fmt: skip
_add(
    "csv", reader_of("csv"), _write_captions, *_CAPTIONS,
    text="Reads SOURCE, a table of any delimiter, JSON lines or a JSON array, with image and caption, and split where "
    "known.",
    example="captions.csv --out runs/records",
)  # fmt: skip
_add(
    "folder", reader_of("folder"), _write_captions, *_CAPTIONS,
    text="Reads a folder SOURCE of photos, each with its captions in a .txt beside it.",
    example="data/photos --dev-fraction 0.2 --out runs/records",
)  # fmt: skip
_add(
    "tsv", reader_of("tsv"), _write_captions, *_CAPTIONS,
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
