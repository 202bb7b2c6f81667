"""`showtell-train classifier` and `devices`: VGG-19 on class records, and the devices of this machine."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from model.config import INPUT_POOLINGS, EncoderConfig
from model.presets import PRESETS
from training.commands.options import (
    ANY,
    EXISTING,
    chosen,
    flags,
    imagenet_file,
    optimizer_flags,
    option,
    pipeline_flags,
    preset_device_flags,
    reported,
    run_flags,
    told_defaults,
    train,
)
from training.commands.unused import of_optimizer, refuse_unused
from training.config import ClassifierTrainingConfig
from training.presets import CLASSIFIERS, DEVICES, USUAL

_ENCODERS = {name: PRESETS[name]().encoder for name in CLASSIFIERS}


@click.command()
@option("--records", type=EXISTING, required=True, help="Class records from `prepare`.")
@option("--out", type=ANY, required=True, help="Run directory.")
@option("--preset", type=click.Choice(sorted(PRESETS)), default=USUAL, help="Architecture and training.")
@option(
    "--widths",
    type=click.FloatRange(0, 1, min_open=True),
    nargs=5,
    show_default=told_defaults(_ENCODERS, "widths"),
    help="Factors on the channels of the five blocks.",
)
@option(
    "--input-pooling",
    type=click.Choice([str(side) for side in INPUT_POOLINGS]),
    show_default=told_defaults(_ENCODERS, "input_pooling"),
    help="Side of the average pool in front of the first layer: 2 makes it see 112x112, 4 makes it see 56x56.",
)
@option(
    "--dropout",
    type=click.FloatRange(0, 1, max_open=True),
    show_default=told_defaults(_ENCODERS, "dropout"),
    help="Share of FC units dropped: 1 - keep probability.",
)
@flags(
    ClassifierTrainingConfig,
    defaults=CLASSIFIERS,
    about={"seed": "Seed of initial weights, order, augmentation and dropout."},
)
@option(
    "--imagenet", help="Start from the official Keras VGG-19 file: a path, or `download`. Sets caffe normalisation."
)
@pipeline_flags(defaults={name: config.pipeline for name, config in CLASSIFIERS.items()})
@optimizer_flags(defaults={name: config.optimizer for name, config in CLASSIFIERS.items()})
@preset_device_flags
@run_flags
@reported
def classifier(records: Path, out: Path, imagenet: str | None, **options: Any) -> None:
    """Trains VGG-19 to name the class of an image; keeps the best on dev.

    \b
    Examples:
      showtell-train classifier --records runs/tiny --out runs/classifier --input-pooling 4 --epochs 60
      showtell-train classifier --records runs/mine --out runs/mine-vgg --preset paper --imagenet download
      showtell-train classifier --records runs/tiny --out runs/two --devices cpu:2 --estimate
    """  # noqa: D301 - \b tells click not to wrap
    from training.encoder.classifier import ClassifierTask
    from training.loop.replicas import Replicas

    encoder, config = configurations({"imagenet": imagenet, **options})
    replicas = Replicas.start(chosen(DEVICES[options["preset"]], options))
    weights = imagenet_file(imagenet, replicas) if imagenet is not None else None
    options["records"] = records
    train(out, options, replicas, lambda: ClassifierTask(records, encoder, config, replicas, weights))


def configurations(options: Mapping[str, Any]) -> tuple[EncoderConfig, ClassifierTrainingConfig]:
    """Returns the encoder and the training that the options of `classifier` ask for.

    Raises:
        UsageError: A flag does not fit the others.
    """
    encoder = chosen(PRESETS[options["preset"]]().encoder, {**options, "input_pooling": None})
    if options["imagenet"] is not None and options["preset"] != "paper":
        raise click.UsageError(
            "--imagenet: expected --preset paper with it, which alone has the network and the input of that file, "
            f"received --preset {options['preset']}"
        )
    if options["imagenet"] is not None:
        encoder = replace(encoder, normalization="caffe")
    if options["input_pooling"] is not None:
        encoder = replace(encoder, input_pooling=int(options["input_pooling"]))
    config = chosen(CLASSIFIERS[options["preset"]], options)
    config = replace(config, pipeline=chosen(config.pipeline, options), optimizer=chosen(config.optimizer, options))
    refuse_unused(options, of_optimizer(config.optimizer))
    return encoder, config


@click.command()
@reported
def devices() -> None:
    """Lists the devices that TensorFlow sees on this machine."""
    from training.loop.devices import list_devices

    for device in list_devices():
        details = ", ".join(f"{name} {value}" for name, value in device.details.items())
        click.echo(f"{device.name:<28}{device.kind:<6}{details}")
