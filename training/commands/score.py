"""`showtell-train evaluate` and `export`: what scores and ships."""

import json
import shlex
from pathlib import Path
from typing import Any

import click

from model.atomic import atomic_file
from model.bundle import read_classes
from model.config import SearchConfig
from training.commands.options import ANY, EXISTING, command_line, option, reported
from training.provenance import stage


@click.command()
@click.argument("bundle", type=EXISTING)
@option("--records", type=EXISTING, required=True, help="Records from `prepare`.")
@option("--split", type=click.Choice(["train", "dev"]), default="dev", help="Which photos to caption.")
@option("--beam-size", type=click.IntRange(1, 10), help="Hypotheses kept; the bundle's default where not given.")
@option("--out", type=ANY, help="JSON file for scores and captions.")
@reported
def evaluate(bundle: Path, records: Path, split: str, beam_size: int | None, out: Path | None) -> None:
    """Scores a bundle: BLEU-1 to 4, ROUGE-L and CIDEr, times 100."""
    from model.captioner import Captioner
    from training.evaluate import evaluate as run

    result = run(Captioner.load(bundle), records, split, beam_size=beam_size)
    _print_scores(result.scores, result.tokenizer)
    if out is not None:
        with atomic_file(out) as file:
            content = {
                "split": split,
                "tokenizer": result.tokenizer,
                "scores": result.scores,
                "captions": result.captions,
            }
            file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


@click.command()
@option("--records", type=EXISTING, required=True, help="Records from `prepare`; dev is scored.")
@option("--encoder", type=EXISTING, required=True, help="Run directory of `distill`.")
@option("--captioner", "captioner_run", type=EXISTING, required=True, help="Run directory of `captioner`.")
@option(
    "--classes",
    type=EXISTING,
    required=True,
    help="Class names: Keras's imagenet_class_index.json or a bundle's classes.json.",
)
@option("--out", type=ANY, required=True, help="Directory of the bundle; an older bundle there is replaced.")
@option("--name", default="show-and-tell-small", help="Name that clients see.")
@option("--version", default="1", help="Version that clients see.")
@option("--data", default="", help="What it was trained on, in words.")
@option("--beam-size", type=click.IntRange(1, 10), default=SearchConfig().beam_size, help="Default beam.")
@option("--max-words", type=click.IntRange(1, 100), default=SearchConfig().max_words, help="Most words in a caption.")
@option(
    "--length-penalty",
    type=click.FloatRange(0, 2),
    default=SearchConfig().length_penalty,
    help="Favours longer captions.",
)
@reported
def export(
    records: Path,
    encoder: Path,
    captioner_run: Path,
    classes: Path,
    out: Path,
    name: str,
    version: str,
    data: str,
    **search: Any,
) -> None:
    """Writes the bundle: batch norm folded, float16 weights, scores on dev, and how it was made."""
    from training.export import assemble
    from training.export import export as run

    runs = {"prepare": records, "distill": encoder, "captioner": captioner_run}
    bundle = assemble(encoder, captioner_run, records, read_classes(classes))
    made = {label: stage(directory) for label, directory in runs.items()}
    made["export"] = {"commands": [shlex.join(command_line())]}
    result = run(out, bundle, records, made, name=name, version=version, data=data, search=SearchConfig(**search))
    _print_scores(result.scores, result.tokenizer)
    size = sum(file.stat().st_size for file in out.iterdir())
    click.echo(f"{out}: {size / 1e6:.1f} MB")


def _print_scores(scores: dict[str, float], tokenizer: str) -> None:
    for name, value in scores.items():
        click.echo(f"{name:<18}{value:>8.2f}")
    click.echo(f"tokenizer: {tokenizer}")
