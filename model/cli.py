"""`showtell`: captions photos from the command line, and inspects bundles."""

import glob
import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from model.bundle import DEFAULT_BUNDLE, load_bundle
from model.config import CaptionerConfig
from model.engines.choice import EngineName
from model.engines.cores import usable_cores
from model.engines.quiet import quiet_lite
from model.errors import CaptionerError, LibraryError, SearchOptionError
from model.image import SUFFIXES
from model.library.command import Command, Show, bundle_mark
from model.library.listing import Listing
from model.library.names import escape_the_unencodable, printable, text_of
from model.library.outputs import SIDECARS
from model.library.pipeline import AHEAD, BATCH, Captioned
from model.library.progress import tell
from model.library.request import Request
from model.library.rows import prediction_json
from model.library.tables import TABLES
from model.library.texts import alt_text
from model.options import OPTIONS, SearchOptions
from model.prediction_flags import max_pixels_flag, prediction_flags

if TYPE_CHECKING:
    from model.captioner import Captioner


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
      showtell photo.jpg --explain photo.html
      showtell photos/ --write xmp
      showtell photos/ --write csv --out captions.csv
      showtell info model/bundles/default

    `showtell caption --help` lists the options.
    """  # noqa: D301 - \b tells click not to wrap
    escape_the_unencodable()


@main.command()
@click.argument("photos", nargs=-1, required=True)
@prediction_flags
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.option(
    "--alt", "as_alt", is_flag=True, help="Print alt text for HTML, behind the name if there are more photos."
)
@click.option(
    "--explain",
    type=click.Path(dir_okay=False, path_type=Path),
    help="HTML file to write for one photo: where in it each word and each class came from.",
)
@click.option(
    "--write",
    type=click.Choice(sorted((*SIDECARS, *TABLES))),
    multiple=True,
    help="Write instead: json, txt or xmp beside each photo, or one table; may be repeated.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File of the table; or a folder for what is else written beside the photos.",
)
@click.option("--exif", is_flag=True, help="Write descriptions into copies of the photos, below --out.")
@click.option("--in-place", is_flag=True, help="With --exif: into the photos themselves.")
@click.option(
    "--subject-threshold",
    "threshold",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    help="Least probability of a class that becomes a subject (a tag) in XMP.",
)
@click.option(
    "--journal", type=click.Path(path_type=Path), help="File that says what is done. Default: with the output."
)
@click.option("--overwrite", is_flag=True, help="Begin anew, and replace what others wrote.")
@click.option("--watch", is_flag=True, help="Go on with photos that appear in the folders.")
@click.option(
    "--poll-seconds",
    type=click.FloatRange(0.1, 86400),
    default=5.0,
    show_default=True,
    help="With --watch: least time between two looks.",
)
@click.option(
    "-j",
    "--threads",
    type=click.IntRange(1, AHEAD * BATCH),
    default=usable_cores,
    show_default="one for each core",
    help="Threads that read and decode photos.",
)
@max_pixels_flag
def caption(
    bundle: Path, captions: int, classes: int, engine: EngineName, as_json: bool, as_alt: bool, **given: Any,
) -> None:  # fmt: skip
    """Captions PHOTOS: files, folders (searched recursively), glob patterns, or - for standard input.

    If a photo fails, the others are still captioned and the exit status is 1; wrong options are 2. What is written is
    resumed: a run that was stopped goes on where it was, and photos that are done and unchanged are left out.
    """
    options = {name: given.pop(name) for name in OPTIONS}
    request = _request(**given)
    if as_json + as_alt + request.is_writing > 1:
        raise click.UsageError("--json, --alt, and --write or --exif are different things to do; give one of them")
    try:
        loaded = _load(bundle, engine)
        search = SearchOptions(**options).wide_enough(loaded.config.search, captions)
        explain = request.explain is not None
        predict = partial(loaded.predict, search=search, captions=captions, classes=classes, explain=explain)
        command = Command(request, predict)
        listing = command.list_photos()
        _check_listing(request, listing)
        if request.is_writing:
            asked = {name: value for name, value in options.items() if value is not None}
            settings = {"bundle": bundle_mark(bundle), "captions": captions, "classes": classes, **asked}
            succeeded = command.write(listing, {**settings, "threshold": request.threshold})
        else:
            show = _show(request, as_json=as_json, as_alt=as_alt)
            succeeded = command.print(listing, _with_page(request, show, loaded.config))
    except SearchOptionError as error:
        raise click.UsageError(str(error)) from error
    except CaptionerError as error:
        raise click.ClickException(str(error)) from error
    if listing.left_out:
        tell(f"left out: {listing.left_out_text}")
    if not succeeded:
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


def _request(**given: Any) -> Request:
    try:
        return Request(**given)
    except LibraryError as error:
        raise click.UsageError(str(error)) from error


def _load(bundle: Path, engine: EngineName) -> "Captioner":
    # Imported here: the engine takes seconds to load, and --help and info do without it.
    from model.captioner import Captioner

    with quiet_lite():
        return Captioner.load(bundle, engine=engine)


def _check_listing(request: Request, listing: Listing) -> None:
    found = len(listing.photos) + len(listing.failures)
    if not (found or request.watch):
        raise click.ClickException(_found_none(request, listing))
    if request.explain is not None and found > 1:
        raise click.UsageError(f"--explain: expected one photo, received {found}; call it for one after the other")


def _found_none(request: Request, listing: Listing) -> str:
    endings = ", ".join(sorted(SUFFIXES))
    left_out = f"; left out: {listing.left_out_text}" if listing.left_out else ""
    return f"expected photos in {', '.join(map(printable, request.photos))}, found none ({endings}){left_out}"


def _show(request: Request, *, as_json: bool, as_alt: bool) -> Show:
    """Returns the function that makes the text of one photo."""
    if as_json:
        return lambda done: json.dumps({"file": text_of(done.photo.path), **_predicted(done)})
    if as_alt:
        alone = (
            len(request.photos) == 1 and not Path(request.photos[0]).is_dir() and not glob.has_magic(request.photos[0])
        )
        return lambda done: ("" if alone else f"{printable(done.photo.path)}\t") + _alt(done)
    return _as_text


def _with_page(request: Request, show: Show, config: CaptionerConfig) -> Show:
    """Returns a function that writes the page that explains a photo, if it is asked for, and then makes its text."""
    # Imported here: it knows the captioner, which takes long to load.
    from model.explained_page import write_explained

    def write(done: Captioned) -> str:
        if request.explain is not None:
            write_explained(request.explain, done, f"{config.name} {config.version}")
        return show(done)

    return write


def _predicted(done: Captioned) -> dict[str, Any]:
    return prediction_json(done.prediction) if done.prediction is not None else {}


def _alt(done: Captioned) -> str:
    return alt_text(done.prediction.captions[0].text) if done.prediction is not None else ""


def _as_text(done: Captioned) -> str:
    if done.prediction is None:
        return ""
    captions = [f"  {caption.text}  (p={caption.probability:.2g})" for caption in done.prediction.captions]
    classes = ", ".join(f"{item.label.replace('_', ' ')} {item.probability:.0%}" for item in done.prediction.classes)
    return "\n".join([printable(done.photo.path), *captions, *([f"  classes: {classes}"] if classes else [])])


if __name__ == "__main__":
    main()
