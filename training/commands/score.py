"""`showtell-train evaluate`, `recognize`, `export` and `convert`: scores, and the bundle."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from model.atomic import atomic_file
from model.bundle import CLASSES, BundleInfo, load_bundle, read_classes
from model.config import MAX_BEAM_SIZE, MAX_LENGTH_PENALTY, MAX_WORDS, SearchConfig
from model.errors import ConfigError
from model.options import SearchOptions
from model.search_flags import search_flags
from training.commands.options import ANY, EXISTING, command_line, option, reported
from training.data.captioned import SPLITS
from training.provenance import stage

if TYPE_CHECKING:
    from training.scoring.evaluate import Evaluation


@click.command()
@click.argument("bundle", type=EXISTING)
@option("--records", type=EXISTING, required=True, help="Records from `prepare`.")
@option("--split", type=click.Choice(SPLITS), default="dev", help="Which photos to caption.")
@option(
    "--beam-size",
    "beam_sizes",
    type=click.IntRange(1, MAX_BEAM_SIZE),
    multiple=True,
    help="Hypotheses that the search keeps; repeat it to compare. Default: the bundle's.",
)
@option(
    "--tokenizer",
    type=click.Choice(["ptb", "showtell"]),
    help="`ptb` is used for published scores of English and needs Java. Default: ptb for English if Java is installed, "
    "else showtell.",
)
@option("--topics", is_flag=True, help="Also print CIDEr for people, animals, food, vehicles, indoor and sport.")
@search_flags("beam_size", "seed")
@option("--out", type=ANY, help="JSON file for scores and captions.")
@option(
    "--captions",
    "captions_file",
    type=ANY,
    help="File for the captions alone, for `score`: .json in the form of COCO's results, .jsonl or .csv. Of several "
    "beam sizes each gets a file, such as captions.beam3.json.",
)
@option("--page", type=ANY, help="HTML file for photos and their captions.")
@option("--page-photos", type=click.IntRange(0), default=60, help="Number of random photos on the page.")
@option("--seed", type=click.IntRange(0), default=0, help="Seed of the random photos, and of --sample.")
@reported
def evaluate(
    bundle: Path,
    records: Path,
    split: str,
    beam_sizes: tuple[int, ...],
    tokenizer: str | None,
    topics: bool,
    out: Path | None,
    captions_file: Path | None,
    page: Path | None,
    page_photos: int,
    seed: int,
    **options: Any,
) -> None:
    """Scores a bundle: BLEU-1 to 4, METEOR, ROUGE-L, CIDEr, loss and perplexity.

    Scores are times 100. METEOR needs Java and is left out, with the reason, where Java does not run. The loss is that
    of the reference captions by the full softmax, in nats per word, ends included; captions are cut at the records'
    --max-words, as in training, so that it is the loss that the run of the decoder tells. The other scores are those of
    whole sentences.

    \b
    Examples:
      showtell-train evaluate my-bundle --records runs/records
      showtell-train evaluate my-bundle --records runs/records --beam-size 1 --beam-size 3 --beam-size 5
      showtell-train evaluate my-bundle --records runs/records --out scores.json --page page.html
      showtell-train evaluate my-bundle --records runs/records --min-words 8 --captions longer.json
    """  # noqa: D301 - \b tells click not to wrap
    from training.scoring.evaluate import evaluate_bundle

    loaded = load_bundle(bundle)
    _check_lengths(bundle, loaded.config.search.max_words, records, options["max_words"])
    asked = SearchOptions(**options, seed=seed if options["sample"] else None)
    result = evaluate_bundle(loaded, records, split, beam_sizes=beam_sizes, options=asked, tokenizer=tokenizer)
    for name, *cells in [*result.table(), *(result.topic_table() if topics else [])]:
        click.echo(f"{name:<28}" + "".join(f"{cell:>10}" for cell in cells))
    for line in result.notes():
        click.echo(line)
    if out is not None:
        with atomic_file(out) as file:
            file.write_text(json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
    if captions_file is not None:
        _write_captions(captions_file, result)
    if page is not None:
        from training.scoring.gallery import write_page

        title = f"{loaded.config.name} {loaded.config.version}: captions of {split}"
        write_page(page, result, records, title=title, photos=page_photos, seed=seed)
        click.echo(f"{page}: {page.stat().st_size / 1e6:.1f} MB")


@click.command()
@click.argument("bundle", type=EXISTING)
@click.argument("folder", type=EXISTING)
@reported
def recognize(bundle: Path, folder: Path) -> None:
    """Scores a bundle's classes on photos that lie in a folder for each class, named by its id.

    Top-1 and top-5 accuracy are among all classes of the bundle, even if the folder has few.

    \b
    Example:
      showtell-train recognize my-bundle imagenette/val
    """  # noqa: D301 - \b tells click not to wrap
    from model.captioner import Captioner
    from training.scoring.classes import recognize as run

    captioner = Captioner.load(bundle)
    photos, top_1, top_5 = run(captioner, folder)
    click.echo(f"{photos} photos, {len(captioner.classes)} classes: top-1 {top_1:.1f} %, top-5 {top_5:.1f} %")


@click.command()
@option("--records", type=EXISTING, required=True, help="Records from `prepare`; dev is scored.")
@option(
    "--encoder",
    type=EXISTING,
    required=True,
    help="The encoder that `captioner` used: a run, a bundle or the .h5 file.",
)
@option(
    "--captioner", "captioner_run", type=EXISTING, required=True, help="Run directory of `captioner` or `finetune`."
)
@option(
    "--classes",
    type=EXISTING,
    help="Class names: Keras's imagenet_class_index.json or a classes.json. Default: that of --encoder.",
)
@option("--out", type=ANY, required=True, help="Directory of the bundle; an older bundle there is replaced.")
@option("--name", default="show-and-tell-small", help="Name that clients see.")
@option("--version", default="1", help="Version that clients see.")
@option("--data", default="", help="The data that it was trained on, in words.")
@option("--good-at", default="", help="What it captions well, in a few words for the page.")
@option("--bad-at", default="", help="Where it fails, likewise.")
@option(
    "--beam-size", type=click.IntRange(1, MAX_BEAM_SIZE), show_default=str(SearchConfig().beam_size), help="Beam size."
)
@option(
    "--max-words",
    type=click.IntRange(1, MAX_WORDS),
    show_default="the records'",
    help="Most words in a caption; at most the default.",
)
@option(
    "--length-penalty",
    type=click.FloatRange(0, MAX_LENGTH_PENALTY),
    show_default=str(SearchConfig().length_penalty),
    help="Favours longer captions.",
)
@option(
    "--no-repeat-ngram",
    type=click.IntRange(0, MAX_WORDS),
    show_default=str(SearchConfig().no_repeat_ngram),
    help="Captions say no sequence of so many words twice; 0 allows all.",
)
@option(
    "--repeatable-words",
    type=click.IntRange(0),
    show_default=str(SearchConfig().repeatable_words),
    help="Captions say only so many words, the most frequent ones, more than once; 0 allows all.",
)
@option(
    "--activations-kept",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    help="Share of each convolution's outputs that stays as it is. The largest are cut off, so that the CPU engine "
    "quantises the others in finer steps: 0.9999 cuts one in ten thousand. 1 cuts nothing.",
)
@reported
def export(
    records: Path,
    encoder: Path,
    captioner_run: Path,
    classes: Path | None,
    out: Path,
    name: str,
    version: str,
    data: str,
    good_at: str,
    bad_at: str,
    activations_kept: float,
    **search: Any,
) -> None:
    """Writes the bundle: float16 weights, the CPU engine's files, scores on dev, and how it was made.

    Records without dev give a bundle without scores.

    \b
    Example:
      showtell-train export --records runs/records --encoder model/bundles/default --captioner runs/captioner \\
          --out my-bundle --name my-captioner
    """  # noqa: D301 - \b tells click not to wrap
    from training.shipping.convert import calibration_photos
    from training.shipping.export import assemble, checked_search
    from training.shipping.export import export as run
    from training.shipping.limiting import limit_activations

    names = classes if classes is not None else encoder / CLASSES
    if not names.is_file():
        raise click.UsageError(f"expected --classes, since {encoder} has no {CLASSES}; give the names of its classes")
    bundle = assemble(encoder, captioner_run, records, read_classes(names))
    if activations_kept < 1:
        bundle = limit_activations(bundle, calibration_photos(records), activations_kept)
    defaults = checked_search(bundle.config.search, records, search)
    made = {
        "prepare": stage(records),
        "encoder": stage(encoder),
        "captioner": stage(captioner_run, "captioner"),
        "export": {"commands": [shlex.join(command_line())]},
    }
    card = {"data": data, "good_at": good_at, "bad_at": bad_at}
    result = run(out, bundle, records, made, name=name, version=version, card=card, search=defaults)
    _print_written(out, result)


@click.command()
@click.argument("bundle", type=EXISTING)
@option("--records", type=EXISTING, required=True, help="Records from `prepare`; train calibrates, dev is scored.")
@reported
def convert(bundle: Path, records: Path) -> None:
    """Adds the CPU engine's files, encoder.tflite and decoder.tflite, to a bundle that lacks them.

    \b
    Example:
      showtell-train convert my-bundle --records runs/records
    """  # noqa: D301 - \b tells click not to wrap
    from training.shipping.export import add_lite_files

    _print_written(bundle, add_lite_files(bundle, load_bundle(bundle), records))


def _check_lengths(bundle: Path, own: int, records: Path, asked: int | None) -> None:
    """Refuses a bundle whose captions are shorter than those of the records, unless someone asks for a length."""
    from training.data.records import read_max_words

    known = read_max_words(records)
    if asked is None and known is not None and own < known:
        raise ConfigError(
            f"max_words: expected {known} in {bundle} as in {records}, found {own}, which cuts captions short; give "
            f"--max-words {own} to score the bundle as it is, or export it anew"
        )


def _write_captions(path: Path, result: "Evaluation") -> None:
    from training.scoring.files import write_captions

    for size, found in result.beams.items():
        file = path if len(result.beams) == 1 else path.with_suffix(f".beam{size}{path.suffix}")
        write_captions(file, {name: caption.text for name, caption in found.captions.items()})
        click.echo(f"{file}: {len(found.captions)} captions")


def _print_written(path: Path, result: "Evaluation | None") -> None:
    if result is not None:
        for name, value in result.scores.items():
            click.echo(f"{name:<18}{value:>8.2f}")
        click.echo(f"tokenizer: {result.tokenizer}")
    for name, value in BundleInfo.from_bundle(path).config.provenance["parity"].items():
        click.echo(f"parity, {name}: {value:.2f}")
    size = sum(file.stat().st_size for file in path.iterdir())
    click.echo(f"{path}: {size / 1e6:.1f} MB")
