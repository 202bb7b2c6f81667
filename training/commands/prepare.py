"""`showtell-train prepare`: photos with captions or classes into records."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from training.commands.options import ANY, EXISTING, command_line, option, reported
from training.datasets import CaptionedImage, read_coco, read_csv, read_flickr8k, read_folder
from training.provenance import recorded


@click.group()
def prepare() -> None:
    """Writes captioned photos as sharded TFRecords with a vocabulary."""


def _prepare(name: str, read: Callable[..., list[CaptionedImage]], *, splits: bool, text: str) -> None:
    """Adds one source to `prepare`; they differ in how they are read alone."""

    @reported
    def command(source: Path, out: Path, min_count: int, max_words: int, shard_images: int, **options: float) -> None:
        from model.vocabulary import Vocabulary
        from training.records import write_records

        images = read(source, **options)
        train = [caption for image in images if image.split == "train" for caption in image.captions]
        vocabulary = Vocabulary.build(train, min_count=min_count)
        with recorded(out, command_line()):
            shards = write_records(out, images, vocabulary, shard_images=shard_images, max_words=max_words)
        if shards is None:
            sys.exit(130)
        skipped = [line for shard in shards for line in shard.skipped]
        for line in skipped:
            click.echo(f"skipped {line}", err=True)
        for split in ("train", "dev"):
            count = sum(shard.records for shard in shards if shard.name.startswith(split))
            click.echo(f"{split}: {count} photos")
        click.echo(f"vocabulary: {len(vocabulary)} tokens; skipped: {len(skipped)} photos; written to {out}")
        sys.exit(1 if skipped else 0)

    decorators = [
        click.argument("source", type=EXISTING),
        option("--out", type=ANY, required=True, help="Directory for the records."),
        option("--min-count", type=click.IntRange(1), default=5, help="Fewest occurrences of a word that is kept."),
        option("--max-words", type=click.IntRange(1, 100), default=20, help="Words after which a caption is cut."),
        option("--shard-images", type=click.IntRange(1), default=512, help="Most photos in a shard."),
    ]
    if splits:
        share = "Share of the photos kept for dev where the data has no split of its own."
        decorators.append(option("--dev-fraction", type=click.FloatRange(0, 0.9), default=0.1, help=share))
    for decorate in reversed(decorators):
        command = decorate(command)
    prepare.command(name, help=text)(command)


_prepare(
    "flickr8k",
    read_flickr8k,
    splits=False,
    text="Reads Flickr8k: SOURCE holds the token file, the lists and the photos.",
)
_prepare("coco", read_coco, splits=False, text="Reads COCO captions: SOURCE holds annotations/ and the photo folders.")
_prepare(
    "csv", read_csv, splits=True, text="Reads SOURCE, a .csv or .jsonl with image and caption, and split where known."
)
_prepare(
    "folder",
    read_folder,
    splits=True,
    text="Reads a folder SOURCE of photos, each with its captions in a .txt beside it.",
)
