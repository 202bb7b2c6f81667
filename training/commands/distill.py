"""`showtell-train distill`: a small encoder from a larger teacher."""

from pathlib import Path
from typing import Any, Literal

import click

from model.presets import small
from training.commands.options import ANY, EXISTING, command_line, option, reported
from training.config import DeviceConfig, DistillConfig
from training.provenance import recorded


@click.command()
@option("--photos", type=EXISTING, multiple=True, required=True, help="Folder of photos; one named twice counts twice.")
@option(
    "--exclude",
    type=EXISTING,
    help="Text file of photo names to leave out, a name a line; the student is compared with its teacher on them.",
)
@option("--teacher", type=EXISTING, required=True, help="Weights file of Keras's ImageNet MobileNetV2.")
@option("--out", type=ANY, required=True, help="Run directory.")
@option("--start-from", type=EXISTING, help="Earlier run of `distill`, or a bundle, whose encoder goes on learning.")
@option(
    "--epochs", type=click.FloatRange(0, min_open=True), default=DistillConfig().epochs, help="Passes over all views."
)
@option(
    "--views", type=click.IntRange(1), default=DistillConfig().views, help="Views of each photo, every third a mixture."
)
@option("--batch-size", type=click.IntRange(1), default=DistillConfig().batch_size, help="Images a step.")
@option("--learning-rate", type=float, default=DistillConfig().learning_rate, help="Peak learning rate.")
@option("--weight-decay", type=click.FloatRange(0), default=DistillConfig().weight_decay, help="Of all kernels.")
@option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=DistillConfig().seed,
    help="Seed of views, order and initial weights.",
)
@option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    help="Arithmetic.",
)
@reported
def distill(
    photos: tuple[Path, ...],
    exclude: Path | None,
    teacher: Path,
    out: Path,
    start_from: Path | None,
    precision: Literal["float32", "bfloat16", "float16"],
    **options: Any,
) -> None:
    """Trains a small VGG-19 to see like a larger teacher; needs photos but no captions.

    \b
    Examples:
      showtell-train distill --photos photos --teacher mobilenet_v2.weights.h5 --out runs/encoder
      showtell-train distill --photos photos --teacher mobilenet_v2.weights.h5 --start-from runs/encoder \\
          --out runs/encoder-2
    """  # noqa: D301 - \b tells click not to wrap
    from training.distill import distill as run

    names = frozenset(exclude.read_text(encoding="utf-8").splitlines()) if exclude else frozenset()
    with recorded(out, command_line(), after=start_from):
        policy = DeviceConfig(precision=precision).policy
        config = DistillConfig(**options)
        run(out, photos, names, teacher, small().encoder, config, start_from=start_from, precision=policy)
