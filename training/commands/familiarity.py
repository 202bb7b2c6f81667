"""`showtell-train familiarity`: a bundle that tells photos unlike those that it was trained on."""

from pathlib import Path

import click

from model.familiarity import FAMILIARITY
from training.commands.options import ANY, EXISTING, option, reported


def named_folders(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    """Reads NAME=FOLDER."""
    found: dict[str, Path] = {}
    for value in values:
        name, sign, folder = value.partition("=")
        if not (name and sign and Path(folder).is_dir()):
            raise click.BadParameter(f"expected NAME=FOLDER with a folder that exists, received {value!r}")
        found[name] = Path(folder)
    return found


@click.command()
@click.argument("bundle", type=EXISTING)
@option("--records", type=EXISTING, required=True, help="Records from `prepare`, which it was trained on.")
@option("--split", type=click.Choice(("dev", "test")), default="dev", help="Which photos the limit is fitted on.")
@option(
    "--unlike",
    "others",
    multiple=True,
    callback=named_folders,
    help="NAME=FOLDER of pictures of another kind, to measure how well they are told; may be repeated.",
)
@option(
    "--most-photos", type=click.IntRange(2), default=2000, show_default=True, help="Most photos of train and of others."
)
@option("--out", type=ANY, help="Where to write the bundle that can tell; may be the bundle itself. Default: nowhere.")
@reported
def familiarity(
    bundle: Path, records: Path, split: str, others: dict[str, Path], most_photos: int, out: Path | None
) -> None:
    """Fits how far a photo may be from those of training, and measures what that tells.

    A small Gaussian over the encoder's features, with a limit that 95 % of dev are within. For noise, and for each
    folder, the AUROC against dev is printed (0.5 is chance), and the share that is above the limit.

    \b
    Examples:
      showtell-train familiarity my-bundle --records runs/records --unlike drawings=drawings/
      showtell-train familiarity my-bundle --records runs/records --out my-bundle
    """  # noqa: D301 - \b tells click not to wrap
    from model.captioner import Captioner
    from training.scoring.unlikeness import measure_unlikeness
    from training.shipping.configured import save_with_config

    captioner = Captioner.load(bundle)
    found, told = measure_unlikeness(captioner, records, split, most_photos, others)
    click.echo(f"{'':<16}{'photos':>10}{'AUROC':>10}{'above':>10}")
    for name, kind in told.items():
        click.echo(f"{name:<16}{kind.photos:>10}{kind.auroc:>10.3f}{kind.above:>10.1%}")
    if out is not None:
        save_with_config(out, bundle, captioner.config, {FAMILIARITY: found.to_bytes()})
        click.echo(f"wrote {out}")
