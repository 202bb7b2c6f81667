"""`showtell-train pack` and `joint`: encoder, class layers and decoder trained at once, on a GPU if there is one."""

import sys
from pathlib import Path
from typing import Any

import click

from training.commands.options import (
    ANY,
    EXISTING,
    STOPPED,
    check_out,
    chosen,
    classes_option,
    command_line,
    flags,
    known_classes,
    option,
    reported,
)
from training.config import RunConfig
from training.data.captioned import find_photos, read_lines
from training.decoder.joint_config import JointConfig
from training.provenance import recorded


@click.command()
@option("--records", type=EXISTING, required=True, help="Caption records with the splits train and dev.")
@option("--photos", type=EXISTING, multiple=True, help="Folder of further photos, from which classes are learned.")
@option("--held-out", type=EXISTING, multiple=True, help="Text file of photo names that only score classes.")
@classes_option
@option("--quality", type=click.IntRange(1, 100), default=74, help="Quality of the WebP files.")
@option("--out", type=ANY, required=True, help="Directory of the packed photos, about 7 kB each.")
@reported
def pack(
    records: Path, photos: tuple[Path, ...], held_out: tuple[Path, ...], classes: Path | None, quality: int, out: Path
) -> None:
    """Packs photos, captions and classes into one directory for `joint`.

    TensorFlow is not needed to read it: carry it to a machine with a GPU and Keras on JAX.

    \b
    Example:
      showtell-train pack --records runs/records --photos data/imagenet_samples --held-out held_out.txt \\
          --classes imagenet_class_index.json --out runs/packed
    """  # noqa: D301 - \b tells click not to wrap
    from model.vocabulary import Vocabulary
    from training.data.packed import pack as run
    from training.data.records import VOCABULARY
    from training.decoder.features import captioned_photos

    names = frozenset(name for file in held_out for name in read_lines(file))
    with recorded(out, command_line()):
        run(
            out,
            captioned_photos(records),
            Vocabulary.load(records / VOCABULARY),
            find_photos(photos) if photos else [],
            names,
            known_classes(classes),
            quality,
        )


@click.command()
@option("--packed", type=EXISTING, required=True, help="Directory from `pack`.")
@option("--encoder", type=EXISTING, required=True, help="Run of `grow` or of a later stage, or a bundle.")
@option(
    "--captioner",
    "captioner_run",
    type=EXISTING,
    required=True,
    help="Run of `captioner` on that encoder, or a bundle.",
)
@option("--teacher", type=EXISTING, required=True, help="Safetensors file of EfficientNet-Lite2, with PyTorch's names.")
@option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    help="Arithmetic of encoder and teacher. Variables stay float32.",
)
@option("--compare-steps", type=click.IntRange(1), default=250, help="Steps between two comparisons on dev.")
@flags(JointConfig)
@option("--out", type=ANY, required=True, help="Run directory.")
@flags(RunConfig, "checkpoint_steps", "checkpoint_minutes", "summary_steps")
@option("--resume/--restart", default=True, help="Continue from the last checkpoint in --out, or start over.")
@reported
def joint(
    packed: Path, encoder: Path, captioner_run: Path, teacher: Path, precision: str, compare_steps: int, out: Path,
    *, resume: bool, **options: Any,
) -> None:  # fmt: skip
    """Trains encoder, class layers and decoder at once, from photos, beside a teacher that sees every view.

    It is made for a GPU: a full-size step of 256 views takes minutes on two processor cores. It runs on any Keras
    backend; with JAX, TensorFlow need not be installed. The words are those of --packed; words that the captioner
    does not know start fresh. The run directory is both --encoder and --captioner of later commands, a second `joint`
    with --samples among them, which is self-critical training of all networks.

    \b
    Examples:
      export KERAS_BACKEND=jax
      showtell-train joint --packed runs/packed --encoder model/bundles/default --captioner model/bundles/default \\
          --teacher efficientnet_lite2.safetensors --precision bfloat16 --out runs/joint
      showtell-train joint --packed runs/packed --encoder runs/joint --captioner runs/joint --samples 5 --steps 300 \\
          --teacher efficientnet_lite2.safetensors --precision bfloat16 --learning-rate 2e-4 \\
          --encoder-learning-rate 2e-5 --out runs/rewarded
    """  # noqa: D301 - \b tells click not to wrap
    from training.decoder.joint_run import joint as run
    from training.loop.directory import restart

    check_out(out, packed, encoder, captioner_run)
    if not resume:
        restart(out)
    with recorded(out, command_line(), after=captioner_run):
        complete = run(
            out, encoder, captioner_run, packed, teacher, chosen(JointConfig(), options), precision=precision,
            compare_steps=compare_steps, run_config=chosen(RunConfig(), options),
        )  # fmt: skip
    sys.exit(0 if complete else STOPPED)
