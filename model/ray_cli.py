"""`showtell-ray`: captions photo libraries on more than one machine, by Ray."""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import click

from model.bundle import BundleInfo
from model.errors import CaptionerError, LibraryError, SearchOptionError
from model.library.command import bundle_mark
from model.library.listing import Listing, list_photos
from model.library.names import escape_the_unencodable, printable
from model.library.parquet_folder import ParquetFolder
from model.library.progress import tell
from model.library.stores import is_stored, list_stored
from model.options import OPTIONS, SearchOptions
from model.prediction_flags import max_pixels_flag, prediction_flags


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="show-and-tell-server")
@click.argument("photos", nargs=-1, required=True)
@click.option("--out", required=True, help="Folder of the table, in Parquet; a path or an address. Made if missing.")
@prediction_flags
@click.option(
    "--address",
    envvar="RAY_ADDRESS",
    default="local",
    show_default=True,
    show_envvar=True,
    help="Cluster to run on, host:port or auto; local starts one on this machine for this run.",
)
@click.option("--actors", type=click.IntRange(1), help="Captioners. Default: as many as the cluster has CPUs for.")
@click.option("--threads", type=click.IntRange(1), help="Threads of each captioner. Default: 4, or a machine's CPUs.")
@click.option(
    "--checkpoints", help="Folder that says what is done, apart from --out. Default: --out with .checkpoints behind it."
)
@click.option("--overwrite", is_flag=True, help="Begin anew: what an earlier run wrote to --out is deleted.")
@max_pixels_flag
def main(**given: Any) -> None:
    """Captions PHOTOS on a Ray cluster, into a folder of Parquet files.

    PHOTOS are files, folders (searched recursively), glob patterns, or addresses of object stores (s3://, gs://).
    Folders must be there on every machine of the cluster, under the same path.

    Each photo has one row, those that failed too, with the columns of `showtell --write parquet`. A run that was
    stopped goes on where it was: call the same command again. The exit status is 1 if a photo failed; wrong options
    are 2.

    \b
    Examples:
      showtell-ray photos/ --out captions
      showtell-ray photos/ --out captions --actors 2 --threads 4
      showtell-ray s3://bucket/photos --out s3://bucket/captions --address auto
      showtell-ray gs://bucket/photos --out gs://bucket/captions --captions 3

    On one machine `showtell` does the same without Ray.
    """  # noqa: D301 - \b tells click not to wrap
    escape_the_unencodable()
    if find_spec("ray") is None:
        raise click.ClickException("expected Ray, found none; install it with: pip install 'show-and-tell-server[ray]'")
    try:
        succeeded = _run(given)
    except SearchOptionError as error:
        raise click.UsageError(str(error)) from error
    except CaptionerError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        tell("stopped; the same command goes on from here")
        sys.exit(1)
    if not succeeded:
        sys.exit(1)


def _run(given: Mapping[str, Any]) -> bool:
    """Captions what is asked for, and says how it went; returns whether nothing failed."""
    # Imported here: Ray takes seconds to load, and --help does without it.
    from model.library.on_ray.run import Asked, caption_on_ray
    from model.library.on_ray.stages import Work

    asked = {name: given[name] for name in OPTIONS if given[name] is not None}
    shared = {name: given[name] for name in ("captions", "classes")}
    defaults = BundleInfo.from_bundle(given["bundle"]).config.search
    work = Work(
        bundle=given["bundle"].resolve(), engine=given["engine"], max_pixels=given["max_pixels"],
        search=SearchOptions(**asked).wide_enough(defaults, given["captions"]), **shared,
    )  # fmt: skip
    listing = _listed(given["photos"])
    out = _absolute(given["out"])
    folder = ParquetFolder(out, _absolute(given["checkpoints"] or f"{out}.checkpoints"))
    settings = {"bundle": bundle_mark(given["bundle"]), **shared, **asked}
    folder.check_settings(settings, overwrite=given["overwrite"])
    folder.prepare(settings, overwrite=given["overwrite"])
    asked_cluster = Asked(given["address"], given["actors"], given["threads"])
    outcome = caption_on_ray(listing.photos, folder, work, asked_cluster)
    tell(outcome.text)
    if listing.left_out:
        tell(f"left out: {listing.left_out_text}")
    return not (outcome.failed or listing.failures)


def _listed(arguments: Sequence[str]) -> Listing:
    """Lists photos in folders and in stores; what cannot be looked into is told.

    Raises:
        LibraryError: There are none, or a store cannot be reached.
    """
    found = list_photos([argument for argument in arguments if not is_stored(argument)])
    found.photos = [_absolute(photo) for photo in found.photos]
    for argument in filter(is_stored, arguments):
        stored = list_stored(argument)
        found.photos += stored.photos
        found.failures += stored.failures
        found.left_out += stored.left_out
    for path, reason in found.failures:
        tell(f"{printable(path)}: {reason}")
    if not found.photos:
        left_out = f"; left out: {found.left_out_text}" if found.left_out else ""
        raise LibraryError(f"expected photos in {', '.join(map(printable, arguments))}, found none{left_out}")
    return found


def _absolute(place: str) -> str:
    """Returns a place as every machine can find it."""
    return place.rstrip("/") if is_stored(place) else os.path.abspath(place)  # noqa: PTH100 - paths are text here


if __name__ == "__main__":
    main()
