"""`showtell-train classifier` and `devices`: VGG-19 on class records, and what it can run on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from model.presets import PRESETS
from training.commands.options import (
    ANY,
    EXISTING,
    chosen,
    device_options,
    imagenet_file,
    optimizer_options,
    option,
    pipeline_options,
    reported,
    run_options,
    train,
)
from training.config import ClassifierTrainingConfig, DeviceConfig, paper_classifier


@click.command()
@option("--records", type=EXISTING, required=True, help="Class records from `prepare`.")
@option("--out", type=ANY, required=True, help="Run directory.")
@option("--preset", type=click.Choice(sorted(PRESETS)), default="small", help="Architecture and training.")
@option(
    "--widths",
    type=click.FloatRange(0, 1, min_open=True),
    nargs=5,
    help="Factors on the channels of the five blocks; the preset's if not given.",
)
@option(
    "--input-pooling",
    type=click.Choice(["1", "2", "4", "7"]),
    help="Average pool in front: 2 sees 112x112, 4 sees 56x56.",
)
@option(
    "--dropout", type=click.FloatRange(0, 1, max_open=True), help="Share of FC units dropped: 1 - keep probability."
)
@option("--epochs", type=click.IntRange(1), help="Passes over the records.")
@option("--label-smoothing", type=click.FloatRange(0, 1, max_open=True), help="Target spread over all classes.")
@option(
    "--imagenet", help="Start from the official Keras VGG-19 file: a path, or `download`. Sets caffe normalisation."
)
@option("--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of weights, order, augmentation and dropout.")
@pipeline_options
@optimizer_options
@device_options
@run_options
@reported
def classifier(
    records: Path, out: Path, preset: str, input_pooling: str | None, imagenet: str | None,
    **options: Any,
) -> None:  # fmt: skip
    """Trains VGG-19 to name the class of an image; keeps the best on dev.

    \b
    Examples:
      showtell-train classifier --records runs/tiny --out runs/classifier --input-pooling 4 --epochs 60
      showtell-train classifier --records runs/mine --out runs/mine-vgg --preset paper --imagenet download
      showtell-train classifier --records runs/tiny --out runs/two --devices cpu:2 --estimate
    """  # noqa: D301 - \b tells click not to wrap
    from training.classifier import ClassifierTask, train_classifier
    from training.replicas import Replicas

    encoder = chosen(PRESETS[preset]().encoder, options)
    if imagenet is not None:
        encoder = replace(encoder, normalization="caffe")
    if input_pooling is not None:
        encoder = replace(encoder, input_pooling=int(input_pooling))
    config = chosen(paper_classifier() if preset == "paper" else ClassifierTrainingConfig(), options)
    config = replace(config, pipeline=chosen(config.pipeline, options), optimizer=chosen(config.optimizer, options))
    replicas = Replicas.start(chosen(DeviceConfig(), options))
    weights = imagenet_file(imagenet, replicas) if imagenet is not None else None
    options["records"] = records
    train(out, options, replicas, lambda: ClassifierTask(records, encoder, config, replicas, weights), train_classifier)


@click.command()
@reported
def devices() -> None:
    """Lists the devices that TensorFlow sees here."""
    from training.devices import list_devices

    for device in list_devices():
        details = ", ".join(f"{name} {value}" for name, value in device.details.items())
        click.echo(f"{device.name:<28}{device.kind:<6}{details}")
