"""`showtell-train grow`, `maps`, `answers` and `distill-top`: a full-size encoder from VGG-16's convolutions."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from model.config import FEATURES
from model.presets import vgg19
from training.commands.options import (
    ANY,
    EXISTING,
    STOPPED,
    check_out,
    chosen,
    classes_option,
    command_line,
    flags,
    keras_run_flags,
    known_classes,
    option,
    reported,
)
from training.config import DeviceConfig, RunConfig, TopConfig
from training.data.captioned import find_photos, read_lines
from training.fields import MAX_SEED
from training.provenance import recorded


@click.command()
@option("--vgg16", required=True, help="Keras's file of ImageNet VGG-16, with or without the top, or `download`.")
@option("--out", type=ANY, required=True, help="Run directory.")
@option(
    "--features",
    type=click.Choice(list(FEATURES)),
    default="average",
    help="Output of the encoder that a decoder will read.",
)
@option("--seed", type=click.IntRange(0, MAX_SEED), default=1, help="Seed of the fully connected layers.")
@reported
def grow(vgg16: str, out: Path, features: Any, seed: int) -> None:
    """Makes a VGG-19 from ImageNet's VGG-16: its three additional convolutions start as identities.

    The fully connected layers are untrained; `distill-top` trains them. VGG-19's own file needs no growing: give it to
    `captioner --imagenet`.

    \b
    Example:
      showtell-train grow --vgg16 download --out runs/encoder
    """  # noqa: D301 - \b tells click not to wrap
    from training.data.download import download
    from training.encoder.growing import grow as run
    from training.encoder.imagenet import IMAGENET_VGG16

    path = Path(vgg16)
    if vgg16 == "download":
        path = Path("runs") / IMAGENET_VGG16.url.rpartition("/")[2]
        download(IMAGENET_VGG16.url, path, checksum=IMAGENET_VGG16.checksum)
    with recorded(out, command_line()):
        run(out, path, replace(vgg19().encoder, features=features), seed)


@click.command()
@option("--encoder", type=EXISTING, required=True, help="Run of `grow` or of a later stage.")
@option(
    "--photos",
    type=EXISTING,
    multiple=True,
    required=True,
    help="Folder of photos; folders are read in the order given.",
)
@option(
    "--only", type=EXISTING, multiple=True, help="Text file of photo names, one per line; other photos are left out."
)
@option(
    "--view",
    "views",
    type=click.Choice(["whole", "mirrored"]),
    multiple=True,
    default=("whole", "mirrored"),
    help="Views of each photo.",
)
@option("--out", type=ANY, required=True, help="Directory for the maps, 200 kB for each view.")
@flags(DeviceConfig, "precision")
@reported
def maps(
    encoder: Path, photos: tuple[Path, ...], only: tuple[Path, ...], views: tuple[str, ...], out: Path, precision: str
) -> None:
    """Computes the output of the first four blocks for each photo, once; later stages start from it.

    \b
    Example:
      showtell-train maps --encoder runs/encoder --photos data/flickr8k/images --out runs/maps
    """  # noqa: D301 - \b tells click not to wrap
    import keras

    from training.encoder.maps import cache_maps
    from training.encoder.sources import load_encoder

    keras.config.set_dtype_policy(DeviceConfig(precision=precision).policy)  # type: ignore[arg-type]
    names = {name for file in only for name in read_lines(file)}
    paths = [path for path in find_photos(photos) if not only or path.name in names]
    with recorded(out, command_line()):
        complete = cache_maps(out, load_encoder(encoder).network, paths, views)  # type: ignore[arg-type]
    sys.exit(0 if complete else STOPPED)


@click.command()
@option("--teacher", type=EXISTING, required=True, help="Safetensors file of EfficientNet-Lite2, with PyTorch's names.")
@option(
    "--photos",
    type=EXISTING,
    multiple=True,
    required=True,
    help="Folder of photos; folders are read in the order given.",
)
@option("--out", type=ANY, required=True, help="Directory for the answers, 5 kB for each photo.")
@reported
def answers(teacher: Path, photos: tuple[Path, ...], out: Path) -> None:
    """Computes a teacher's features and classes of each photo, once; `distill-top` trains on them.

    \b
    Example:
      showtell-train answers --teacher efficientnet_lite2.safetensors --photos data/flickr8k/images --out runs/answers
    """  # noqa: D301 - \b tells click not to wrap
    from training.encoder.lite2 import cache_answers

    with recorded(out, command_line()):
        complete = cache_answers(out, teacher, find_photos(photos))
    sys.exit(0 if complete else STOPPED)


@click.command("distill-top")
@option("--encoder", type=EXISTING, required=True, help="Run of `grow`.")
@option("--maps", type=EXISTING, required=True, help="Directory from `maps`.")
@option("--answers", "answers_directory", type=EXISTING, required=True, help="Directory from `answers`.")
@option("--teacher", type=EXISTING, required=True, help="The teacher's file, for its class layer.")
@option("--photos", type=EXISTING, multiple=True, required=True, help="Folder of photos that have maps and answers.")
@option(
    "--exclude",
    type=EXISTING,
    multiple=True,
    help="Text file of photo names to leave out, one per line. The first ones serve to compare encoder and teacher.",
)
@flags(
    TopConfig,
    *("train_from", "epochs", "batch_size", "learning_rate", "weight_decay", "class_weight", "label_weight"),
    *("mixup", "seed"),
)
@classes_option
@option("--out", type=ANY, required=True, help="Run directory.")
@keras_run_flags
@reported
def distill_top(
    encoder: Path, maps: Path, answers_directory: Path, teacher: Path, photos: tuple[Path, ...],
    exclude: tuple[Path, ...], classes: Path | None, out: Path, *, resume: bool, estimate: bool, **options: Any,
) -> None:  # fmt: skip
    """Trains the top of a grown encoder on a teacher's answers to photos.

    \b
    Example:
      showtell-train distill-top --encoder runs/encoder --maps runs/maps --answers runs/answers \\
          --teacher efficientnet_lite2.safetensors --photos data/photos --exclude runs/records/dev.txt --out runs/top
    """  # noqa: D301 - \b tells click not to wrap
    from training.encoder.teach import estimate_top, teach_top

    check_out(out, encoder)
    names = [name for file in exclude for name in read_lines(file)]
    config = chosen(TopConfig(), options)
    if (config.label_weight > 0) != (classes is not None):
        raise click.UsageError("expected --label-weight and --classes, received one of them alone; give both")
    if estimate:
        click.echo(estimate_top(encoder, maps, teacher, find_photos(photos), names, config))
        return
    with recorded(out, command_line(), after=encoder):
        complete = teach_top(
            out, encoder, maps, answers_directory, teacher, find_photos(photos), names, config,
            classes=known_classes(classes), anew=not resume, run_config=chosen(RunConfig(), options),
        )  # fmt: skip
    sys.exit(0 if complete else STOPPED)
