"""`showtell-train distill`: a small encoder from a larger teacher."""

import sys
from pathlib import Path
from typing import Any, Literal

import click

from model.presets import small
from training.commands.options import (
    ANY,
    EXISTING,
    STOPPED,
    check_out,
    chosen,
    command_line,
    flags,
    keras_run_flags,
    option,
    reported,
)
from training.config import DeviceConfig, DistillConfig, RunConfig
from training.provenance import recorded


@click.command()
@option("--photos", type=EXISTING, multiple=True, required=True, help="Folder of photos; one named twice counts twice.")
@option(
    "--exclude",
    type=EXISTING,
    help="Text file of photo names to leave out, one per line. The first ones serve to compare student and teacher.",
)
@option(
    "--teacher",
    type=EXISTING,
    required=True,
    help="Keras's ImageNet MobileNetV2 (.h5), or a larger VGG-19's run or bundle.",
)
@option("--out", type=ANY, required=True, help="Run directory.")
@option("--start-from", type=EXISTING, help="Earlier run of `distill`, or a bundle, whose encoder is trained further.")
@flags(DistillConfig, "epochs", "views", "batch_size", "learning_rate", "weight_decay", "seed")
@flags(DeviceConfig, "precision")
@keras_run_flags
@reported
def distill(
    photos: tuple[Path, ...],
    exclude: Path | None,
    teacher: Path,
    out: Path,
    start_from: Path | None,
    precision: Literal["float32", "bfloat16", "float16"],
    resume: bool,
    estimate: bool,
    **options: Any,
) -> None:
    """Trains a small VGG-19 to give the features and classes of a larger teacher; needs no captions.

    \b
    Examples:
      showtell-train distill --photos photos --teacher mobilenet_v2.weights.h5 --out runs/encoder
      showtell-train distill --photos photos --teacher mobilenet_v2.weights.h5 --start-from runs/encoder \\
          --out runs/encoder-2
      showtell-train distill --photos photos --teacher model/bundles/default --out runs/small
    """  # noqa: D301 - \b tells click not to wrap
    from training.encoder.distill import distill as run
    from training.encoder.distill import estimate_distillation

    check_out(out, start_from)
    names = frozenset(exclude.read_text(encoding="utf-8").splitlines()) if exclude else frozenset()
    policy = DeviceConfig(precision=precision).policy
    config = chosen(DistillConfig(), options)
    if estimate:
        click.echo(estimate_distillation(photos, names, teacher, small().encoder, config, precision=policy))
        return
    with recorded(out, command_line(), after=start_from):
        complete = run(
            out,
            photos,
            names,
            teacher,
            small().encoder,
            config,
            start_from=start_from,
            precision=policy,
            anew=not resume,
            run_config=chosen(RunConfig(), options),
        )
    sys.exit(0 if complete else STOPPED)
