"""`showtell-train grow` and `maps`: VGG-19 from VGG-16's convolutions, and what its frozen part sees."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from model.config import FEATURES
from model.presets import vgg19
from training.commands.options import ANY, EXISTING, command_line, option, reported
from training.datasets import find_photos, read_lines
from training.provenance import recorded

STOPPED = 130
"""Exit status after a requested stop, so that no later command of a script goes on without the rest."""


@click.command()
@option("--vgg16", required=True, help="Keras's file of ImageNet VGG-16, with or without the top, or `download`.")
@option("--out", type=ANY, required=True, help="Run directory.")
@option("--features", type=click.Choice(list(FEATURES)), default="average", help="What a decoder will read.")
@option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, help="Seed of the fully connected layers.")
@reported
def grow(vgg16: str, out: Path, features: Any, seed: int) -> None:
    """Makes a VGG-19 that sees what ImageNet's VGG-16 sees: three convolutions more, which start as identities.

    Its fully connected layers know nothing yet; `distill-top` trains them. VGG-19's own file needs no growing:
    `captioner --imagenet` takes it.

    \b
    Example:
      showtell-train grow --vgg16 download --out runs/encoder
    """  # noqa: D301 - \b tells click not to wrap
    from model.pretrained import IMAGENET_VGG16
    from training.download import download
    from training.growing import grow as run

    path = Path(vgg16)
    if vgg16 == "download":
        path = Path("runs") / IMAGENET_VGG16.url.rpartition("/")[2]
        download(IMAGENET_VGG16.url, path, checksum=IMAGENET_VGG16.checksum)
    with recorded(out, command_line()):
        run(out, path, replace(vgg19().encoder, features=features), seed)


@click.command()
@option("--encoder", type=EXISTING, required=True, help="Run of `grow` or of what goes on from it.")
@option("--photos", type=EXISTING, multiple=True, required=True, help="Folder of photos; in the order given.")
@option("--only", type=EXISTING, multiple=True, help="Text file of photo names, a name a line: these alone.")
@option(
    "--view",
    "views",
    type=click.Choice(["whole", "mirrored"]),
    multiple=True,
    default=("whole", "mirrored"),
    help="Views of each photo.",
)
@option("--out", type=ANY, required=True, help="Directory for the maps; 200 kB a view.")
@reported
def maps(encoder: Path, photos: tuple[Path, ...], only: tuple[Path, ...], views: tuple[str, ...], out: Path) -> None:
    """Computes once what the first four blocks see in each photo, which later stages start from.

    \b
    Example:
      showtell-train maps --encoder runs/encoder --photos data/flickr8k/images --out runs/maps
    """  # noqa: D301 - \b tells click not to wrap
    from training.encoders import load_encoder
    from training.maps import cache_maps

    names = {name for file in only for name in read_lines(file)}
    paths = [path for path in find_photos(photos) if not only or path.name in names]
    with recorded(out, command_line()):
        complete = cache_maps(out, load_encoder(encoder).network, paths, views)  # type: ignore[arg-type]
    sys.exit(0 if complete else STOPPED)


@click.command()
@option("--teacher", type=EXISTING, required=True, help="Safetensors file of EfficientNet-Lite2, PyTorch names.")
@option("--photos", type=EXISTING, multiple=True, required=True, help="Folder of photos; in the order given.")
@option("--out", type=ANY, required=True, help="Directory for the answers; 5 kB a photo.")
@reported
def answers(teacher: Path, photos: tuple[Path, ...], out: Path) -> None:
    """Asks a teacher once about each photo: its features and classes, which `distill-top` learns.

    \b
    Example:
      showtell-train answers --teacher efficientnet_lite2.safetensors --photos data/flickr8k/images --out runs/answers
    """  # noqa: D301 - \b tells click not to wrap
    from training.lite2 import cache_answers

    with recorded(out, command_line()):
        complete = cache_answers(out, teacher, find_photos(photos))
    sys.exit(0 if complete else STOPPED)


@click.command("distill-top")
@option("--encoder", type=EXISTING, required=True, help="Run of `grow`.")
@option("--maps", type=EXISTING, required=True, help="Directory of `maps`.")
@option("--answers", "answers_directory", type=EXISTING, required=True, help="Directory of `answers`.")
@option("--teacher", type=EXISTING, required=True, help="The teacher's file, for its class layer.")
@option("--photos", type=EXISTING, multiple=True, required=True, help="Folder of photos that have maps and answers.")
@option(
    "--exclude",
    type=EXISTING,
    multiple=True,
    help="Text file of photo names to leave out, a name a line; the encoder is compared with its teacher on the first.",
)
@option("--train-from", default="block5_conv4", help="First layer that learns.")
@option("--epochs", type=click.IntRange(1), default=20, help="Passes over all views.")
@option("--batch-size", type=click.IntRange(1), default=64, help="Views a step.")
@option("--learning-rate", type=float, default=1e-3, help="Peak learning rate.")
@option("--weight-decay", type=click.FloatRange(0), default=0.02, help="Of all kernels.")
@option("--class-weight", type=click.FloatRange(0), default=0.5, help="Weight of the classes beside the features.")
@option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, help="Seed of the order.")
@option("--out", type=ANY, required=True, help="Run directory.")
@reported
def distill_top(
    encoder: Path, maps: Path, answers_directory: Path, teacher: Path, photos: tuple[Path, ...],
    exclude: tuple[Path, ...], out: Path, **options: Any,
) -> None:  # fmt: skip
    """Teaches a grown encoder's top what a teacher says of photos.

    \b
    Example:
      showtell-train distill-top --encoder runs/encoder --maps runs/maps --answers runs/answers \\
          --teacher efficientnet_lite2.safetensors --photos data/photos --exclude runs/records/dev.txt --out runs/top
    """  # noqa: D301 - \b tells click not to wrap
    from training.distill_top import TopConfig
    from training.teach import teach_top

    names = [name for file in exclude for name in read_lines(file)]
    with recorded(out, command_line(), after=encoder):
        complete = teach_top(
            out, encoder, maps, answers_directory, teacher, find_photos(photos), names, TopConfig(**options)
        )
    sys.exit(0 if complete else STOPPED)
