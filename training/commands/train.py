"""`showtell-train distill` and `captioner`: what trains a network."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from model.config import small
from training.commands.options import ANY, EXISTING, command_line, option, reported
from training.config import CaptionerTrainingConfig, DistillConfig
from training.provenance import recorded


@click.command()
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
    with recorded(out, command_line()):
        complete = run(out, photos, names, teacher, small().encoder, DistillConfig(**options), precision=precision)
    sys.exit(0 if complete else 130)


@click.command()
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
    with recorded(out, command_line()):
        complete = train_captioner(out, encoder, records, config, CaptionerTrainingConfig(**options))
    sys.exit(0 if complete else 130)
