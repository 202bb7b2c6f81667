"""`showtell`: captions photos from the command line, and inspects bundles."""

import glob
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from model.bundle import DEFAULT_BUNDLE, load_bundle
from model.config import MAX_BEAM_SIZE, MAX_CLASSES
from model.engines.choice import ENGINES, EngineName
from model.errors import CaptionerError, ImageError, SearchOptionError
from model.image import SUFFIXES, read_image
from model.options import SearchOptions
from model.search_flags import search_flags

if TYPE_CHECKING:
    from model.captioner import Captioner, Prediction

MANY = 4
"""From this many photos on, a progress bar is shown."""


class _CaptionByDefault(click.Group):
    """A command group that defaults to `caption`, so that `showtell photo.jpg` works."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help", "--version"):
            args = ["caption", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_CaptionByDefault, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="show-and-tell-server")
def main() -> None:
    """Captions and classifies photos.

    \b
    Examples:
      showtell photo.jpg
      showtell --captions 3 --beam-size 5 holiday/ 'more/*.png'
      showtell --captions 3 --diverse-groups 3 photo.jpg
      showtell --captions 3 --sample --temperature 0.7 --seed 1 photo.jpg
      showtell --json photo.jpg > photo.json
      showtell info model/bundles/default

    `showtell caption --help` lists the options.
    """  # noqa: D301 - \b tells click not to wrap


@main.command()
@click.argument("photos", nargs=-1, required=True)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    default=DEFAULT_BUNDLE,
    help="Bundle to use. Default: the one that comes with the project.",
)
@click.option(
    "--captions", type=click.IntRange(1, MAX_BEAM_SIZE), default=1, show_default=True, help="Captions per photo."
)
@click.option(
    "--beam-size",
    type=click.IntRange(1, MAX_BEAM_SIZE),
    help="Hypotheses that the search keeps. Default: the bundle's, or --captions if that is more.",
)
@click.option("--classes", type=click.IntRange(0, MAX_CLASSES), default=3, show_default=True, help="Classes per photo.")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    show_default=True,
    help="Engine that runs the model; auto takes the fastest on this machine.",
)
@search_flags("beam_size")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def caption(
    photos: tuple[str, ...], bundle: Path, captions: int, classes: int, engine: EngineName, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Captions PHOTOS: files, folders (searched recursively) or glob patterns.

    If a photo fails, the others are still captioned and the exit status is 1.
    """
    # Imported here: the engine takes seconds to load, and --help and info do without it.
    from model.captioner import Captioner

    try:
        loaded = Captioner.load(bundle, engine=engine)
        search = SearchOptions(**options).wide_enough(loaded.config.search, captions)
    except SearchOptionError as error:
        raise click.UsageError(str(error)) from error
    except CaptionerError as error:
        raise click.ClickException(str(error)) from error
    paths = list(_expand(photos))
    if not paths:
        raise click.ClickException(
            f"expected photos in {', '.join(photos)}, found none ({', '.join(sorted(SUFFIXES))})"
        )
    failed = 0
    for path in tqdm(paths, unit="photo", disable=len(paths) < MANY or not sys.stderr.isatty()):
        try:
            prediction = _predict(loaded, path, search=search, captions=captions, classes=classes)
        except (OSError, ImageError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            tqdm.write(f"{click.format_filename(path)}: {reason}", file=sys.stderr)
            failed += 1
            continue
        tqdm.write(json.dumps(_as_json(path, prediction)) if as_json else _as_text(path, prediction), file=sys.stdout)
    if failed:
        click.echo(f"{failed} of {len(paths)} photos failed", err=True)
        sys.exit(1)


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path), default=DEFAULT_BUNDLE)
def info(bundle: Path) -> None:
    """Verifies a BUNDLE (default: the project's) and prints what is in it."""
    try:
        content = load_bundle(bundle)
    except CaptionerError as error:
        raise click.ClickException(str(error)) from error
    parameters = sum(value.size for value in content.weights.values())
    size = sum(file.stat().st_size for file in bundle.iterdir())
    config = asdict(content.config)
    click.echo(f"{config['name']} {config['version']}: verified, {parameters:,} parameters, {size / 1e6:.1f} MB")
    for section in ("encoder", "decoder", "search", "scores", "provenance"):
        click.echo(f"\n{section}")
        for name, value in config[section].items():
            click.echo(f"  {name}: {json.dumps(value, indent=2) if isinstance(value, dict) else value}")


def _expand(arguments: Sequence[str]) -> Iterator[Path]:
    """Yields the files that the arguments name; a name that matches nothing too, which fails when it is read."""
    for argument in arguments:
        literal = Path(argument).exists() or not glob.has_magic(argument)
        matches = [argument] if literal else sorted(glob.glob(argument, recursive=True))  # noqa: PTH207
        for path in map(Path, matches or [argument]):
            if path.is_dir():
                yield from sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
            else:
                yield path


def _predict(captioner: "Captioner", path: Path, **options: Any) -> "Prediction":
    image = read_image(path.read_bytes())
    return captioner.predict(image.pixels[None], **options)[0]


def _as_json(path: Path, prediction: "Prediction") -> dict[str, Any]:
    captions = [asdict(caption) | {"probability": caption.probability} for caption in prediction.captions]
    return {"file": str(path), "captions": captions, "classes": [asdict(item) for item in prediction.classes]}


def _as_text(path: Path, prediction: "Prediction") -> str:
    captions = [f"  {caption.text}  (p={caption.probability:.2g})" for caption in prediction.captions]
    classes = ", ".join(f"{item.label.replace('_', ' ')} {item.probability:.0%}" for item in prediction.classes)
    return "\n".join([click.format_filename(path), *captions, *([f"  classes: {classes}"] if classes else [])])


if __name__ == "__main__":
    main()
