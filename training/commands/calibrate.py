"""`showtell-train calibrate`: how far a bundle's probabilities can be believed, and a bundle whose can."""

from dataclasses import replace
from pathlib import Path

import click

from model.bundle import load_bundle
from training.commands.options import ANY, EXISTING, option, reported
from training.data.captioned import SPLITS


@click.command()
@click.argument("bundle", type=EXISTING)
@option("--records", type=EXISTING, required=True, help="Records from `prepare`.")
@option("--split", type=click.Choice(SPLITS), default="dev", help="Which photos to measure on.")
@option("--out", type=ANY, help="Where to write the calibrated bundle; may be the bundle itself. Default: nowhere.")
@reported
def calibrate(bundle: Path, records: Path, split: str, out: Path | None) -> None:
    """Finds the temperature at which a bundle's probabilities are right as often as they say.

    The expected calibration error (ECE) is printed at temperature 1, at the bundle's own, and at the best one. The
    temperature is one number in the bundle's config.json. It changes the probabilities that are reported, and never
    which caption wins.

    \b
    Examples:
      showtell-train calibrate my-bundle --records runs/records
      showtell-train calibrate my-bundle --records runs/records --out my-bundle
    """  # noqa: D301 - \b tells click not to wrap
    from training.scoring.confidence import measure_confidence
    from training.shipping.configured import save_with_config

    loaded = load_bundle(bundle)
    found = measure_confidence(loaded, records, split)
    for name, *cells in found.table():
        click.echo(f"{name:<22}" + "".join(f"{cell:>20}" for cell in cells))
    click.echo(f"{len(found.words.right)} words of the reference captions of {split}")
    if out is not None:
        provenance = {**loaded.config.provenance, "calibration": found.to_json()}
        temperature = round(found.temperature, 4)
        save_with_config(out, bundle, replace(loaded.config, confidence_temperature=temperature, provenance=provenance))
        click.echo(f"wrote {out} with temperature {temperature}")
