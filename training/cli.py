"""`showtell-train`: prepare data, distil an encoder, train a decoder, score it, export the bundle."""

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click

from model.atomic import atomic_file
from model.bundle import read_classes
from model.config import SearchConfig, small
from model.errors import CaptionerError
from model.runtime.quiet import quiet_tensorflow
from training.config import CaptionerTrainingConfig, DistillConfig
from training.datasets import CaptionedImage, read_coco, read_csv, read_flickr8k, read_folder
from training.provenance import recorded, stage

EXISTING = click.Path(exists=True, path_type=Path)
ANY = click.Path(path_type=Path)
option = partial(click.option, show_default=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="show-and-tell-server")
def main() -> None:
    """Trains a captioner on your own photos.

    \b
    Examples, in order:
      showtell-train prepare flickr8k data/flickr8k --out runs/records
      showtell-train distill --photos data/photos --exclude runs/records/dev.txt \\
          --teacher mobilenet_v2.weights.h5 --out runs/encoder
      showtell-train captioner --records runs/records --encoder runs/encoder --out runs/captioner
      showtell-train export --records runs/records --encoder runs/encoder --captioner runs/captioner \\
          --classes classes.json --out my-bundle
      showtell-train evaluate my-bundle --records runs/records

    Every command can be stopped with Ctrl-C; called again, it goes on from its last shard, step or whole stage.
    """  # noqa: D301 - \b tells click not to wrap
    quiet_tensorflow()


def reported(function: Callable[..., Any]) -> Callable[..., Any]:
    """Prints an error of the project or of the disk as one line and exits with 1."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (CaptionerError, OSError) as error:
            raise click.ClickException(str(error)) from error

    return run


@main.group()
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
        with recorded(out, _command_line()):
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


@main.command()
@option("--photos", type=EXISTING, multiple=True, required=True, help="Folder of photos; one named twice counts twice.")
@option("--exclude", type=EXISTING, help="Text file of photo names to leave out, a name a line.")
@option("--teacher", type=EXISTING, required=True, help="Weights file of Keras's ImageNet MobileNetV2.")
@option("--out", type=ANY, required=True, help="Run directory.")
@option(
    "--epochs", type=click.FloatRange(0, min_open=True), default=DistillConfig().epochs, help="Passes over all views."
)
@option("--views", type=click.IntRange(1), default=DistillConfig().views, help="Crops of each photo.")
@option("--batch-size", type=click.IntRange(1), default=DistillConfig().batch_size, help="Images a step.")
@option("--learning-rate", type=float, default=DistillConfig().learning_rate, help="Peak learning rate.")
@option(
    "--precision",
    type=click.Choice(["float32", "mixed_bfloat16", "mixed_float16"]),
    default="float32",
    help="Arithmetic.",
)
@reported
def distill(
    photos: tuple[Path, ...],
    exclude: Path | None,
    teacher: Path,
    out: Path,
    precision: str,
    **options: Any,
) -> None:
    """Trains a small VGG-19 to see like a larger teacher; needs photos but no captions."""
    from training.distill import distill as run

    names = frozenset(exclude.read_text(encoding="utf-8").splitlines()) if exclude else frozenset()
    with recorded(out, _command_line()):
        complete = run(out, photos, names, teacher, small().encoder, DistillConfig(**options), precision=precision)
    sys.exit(0 if complete else 130)


@main.command()
@option("--records", type=EXISTING, required=True, help="Records from `prepare`.")
@option("--encoder", type=EXISTING, required=True, help="Run directory of `distill`.")
@option("--out", type=ANY, required=True, help="Run directory.")
@option("--epochs", type=click.IntRange(1), default=CaptionerTrainingConfig().epochs, help="Passes over all captions.")
@option("--batch-size", type=click.IntRange(1), default=CaptionerTrainingConfig().batch_size, help="Captions a step.")
@option("--learning-rate", type=float, default=CaptionerTrainingConfig().learning_rate, help="Peak learning rate.")
@option("--dropout", type=click.FloatRange(0, 0.95), help="Dropout of the decoder; the preset's where not given.")
@option(
    "--loss",
    type=click.Choice(["full", "sampled"]),
    default="full",
    help="Softmax over all words or a sample; a sampled run that was stopped resumes with other samples.",
)
@option("--negative-samples", type=click.IntRange(1), default=50, help="Words drawn a step by --loss sampled.")
@option(
    "--label-smoothing", type=click.FloatRange(0, 0.9), default=0.0, help="Target spread over all words, --loss full."
)
@option("--seed", type=int, default=1, help="Seed of weights, order and dropout.")
@reported
def captioner(records: Path, encoder: Path, out: Path, dropout: float | None, **options: Any) -> None:
    """Trains the decoder on the frozen encoder's features; keeps the best on dev."""
    from training.captioner import train_captioner

    config = small()
    if dropout is not None:
        config = replace(config, decoder=replace(config.decoder, dropout=dropout))
    with recorded(out, _command_line()):
        complete = train_captioner(out, encoder, records, config, CaptionerTrainingConfig(**options))
    sys.exit(0 if complete else 130)


@main.command()
@click.argument("bundle", type=EXISTING)
@option("--records", type=EXISTING, required=True, help="Records from `prepare`.")
@option("--split", type=click.Choice(["train", "dev"]), default="dev", help="Which photos to caption.")
@option("--beam-size", type=click.IntRange(1, 10), help="Hypotheses kept; the bundle's default where not given.")
@option("--out", type=ANY, help="JSON file for scores and captions.")
@reported
def evaluate(bundle: Path, records: Path, split: str, beam_size: int | None, out: Path | None) -> None:
    """Scores a bundle: BLEU-1 to 4, ROUGE-L and CIDEr, times 100."""
    from model.captioner import Captioner
    from training.evaluate import evaluate as run

    result = run(Captioner.load(bundle), records, split, beam_size=beam_size)
    _print_scores(result.scores, result.tokenizer)
    if out is not None:
        with atomic_file(out) as file:
            content = {
                "split": split,
                "tokenizer": result.tokenizer,
                "scores": result.scores,
                "captions": result.captions,
            }
            file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


@main.command()
@option("--records", type=EXISTING, required=True, help="Records from `prepare`; dev is scored.")
@option("--encoder", type=EXISTING, required=True, help="Run directory of `distill`.")
@option("--captioner", "captioner_run", type=EXISTING, required=True, help="Run directory of `captioner`.")
@option(
    "--classes",
    type=EXISTING,
    required=True,
    help="Class names: Keras's imagenet_class_index.json or a bundle's classes.json.",
)
@option("--out", type=ANY, required=True, help="Directory of the bundle; an older bundle there is replaced.")
@option("--name", default="show-and-tell-small", help="Name that clients see.")
@option("--version", default="1", help="Version that clients see.")
@option("--data", default="", help="What it was trained on, in words.")
@option("--beam-size", type=click.IntRange(1, 10), default=SearchConfig().beam_size, help="Default beam.")
@option("--max-words", type=click.IntRange(1, 100), default=SearchConfig().max_words, help="Most words in a caption.")
@option(
    "--length-penalty",
    type=click.FloatRange(0, 2),
    default=SearchConfig().length_penalty,
    help="Favours longer captions.",
)
@reported
def export(
    records: Path,
    encoder: Path,
    captioner_run: Path,
    classes: Path,
    out: Path,
    name: str,
    version: str,
    data: str,
    **search: Any,
) -> None:
    """Writes the bundle: batch norm folded, float16 weights, scores on dev, and how it was made."""
    from training.export import assemble
    from training.export import export as run

    runs = {"prepare": records, "distill": encoder, "captioner": captioner_run}
    bundle = assemble(encoder, captioner_run, records, read_classes(classes))
    made = {label: stage(directory) for label, directory in runs.items()}
    made["export"] = {"commands": [shlex.join(_command_line())]}
    result = run(out, bundle, records, made, name=name, version=version, data=data, search=SearchConfig(**search))
    _print_scores(result.scores, result.tokenizer)
    size = sum(file.stat().st_size for file in out.iterdir())
    click.echo(f"{out}: {size / 1e6:.1f} MB")


def _print_scores(scores: dict[str, float], tokenizer: str) -> None:
    for name, value in scores.items():
        click.echo(f"{name:<18}{value:>8.2f}")
    click.echo(f"tokenizer: {tokenizer}")


def _command_line() -> list[str]:
    return ["showtell-train", *sys.argv[1:]]


if __name__ == "__main__":
    main()
