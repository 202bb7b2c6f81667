"""`showtell-train captioner`, `self-critical` and `finetune`: the decoder on a frozen encoder, then both."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from model.config import MAX_LAYERS
from model.presets import PRESETS
from training.commands.options import (
    ANY,
    EXISTING,
    chosen,
    device_flags,
    flags,
    imagenet_file,
    optimizer_flags,
    option,
    pipeline_flags,
    read_weights,
    reported,
    run_flags,
    train,
)
from training.config import (
    CaptionerTrainingConfig,
    DeviceConfig,
    FinetuneConfig,
    SelfCriticalConfig,
    paper_captioner,
)


def _trained_decoder(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags of stages that train a decoder further."""
    for decorator in (
        option("--out", type=ANY, required=True, help="Run directory."),
        option("--captioner", "captioner_run", type=EXISTING, required=True, help="Run directory of `captioner`."),
        option("--encoder", type=EXISTING, required=True, help="The encoder that the decoder was trained on."),
        option("--records", type=EXISTING, required=True, help="Caption records that the decoder was trained on."),
    ):
        function = decorator(function)
    return function


@click.command()
@option("--records", type=EXISTING, required=True, help="Caption records from `prepare`.")
@option("--encoder", type=EXISTING, help="Run of `distill`, `classifier` or `finetune`, or a bundle.")
@option("--imagenet", help="Instead of --encoder: the official Keras VGG-19 file, or `download`.")
@option("--out", type=ANY, required=True, help="Run directory.")
@option("--preset", type=click.Choice(sorted(PRESETS)), default="small", help="Architecture and training.")
@flags(CaptionerTrainingConfig, preset=True)
@option("--dropout", type=click.FloatRange(0, 0.95), help="Dropout of the decoder: 1 - keep probability.")
@option("--word-dropout", type=click.FloatRange(0, 0.95), help="Share of words whose embedding is dropped.")
@option("--layers", type=click.IntRange(1, MAX_LAYERS), help="Stacked GRU cells.")
@option("--units", type=click.IntRange(1), help="Units of each cell.")
@option("--embedding-units", type=click.IntRange(1), help="Length of a word's embedding.")
@option(
    "--image-every-step/--image-once",
    default=None,
    help="Give the decoder the image beside every word, or only before the first.",
)
@option("--residual/--no-residual", default=None, help="Add its input to the output of every cell but the first.")
@option("--tied-embeddings/--own-scores", default=None, help="Score words by their embeddings.")
@option(
    "--weight", "weights", multiple=True, help="NAME=NUMBER: weight of each caption of a source; 0 leaves them out."
)
@option("--start-from", type=EXISTING, help="Earlier run of `captioner` whose decoder is trained further.")
@option(
    "--maps", type=EXISTING, help="Directory from `maps` with all photos, so that only the encoder's last block runs."
)
@optimizer_flags
@device_flags
@run_flags
@reported
def captioner(
    records: Path,
    encoder: Path | None,
    imagenet: str | None,
    out: Path,
    preset: str,
    weights: tuple[str, ...],
    start_from: Path | None,
    maps: Path | None,
    **options: Any,
) -> None:
    """Trains the decoder on a frozen encoder's features; keeps the best on dev.

    The features are computed once and kept beside the records. Options that are not given are the preset's.

    \b
    Examples:
      showtell-train captioner --records runs/records --encoder model/bundles/default --out runs/captioner
      showtell-train captioner --records runs/records --encoder runs/encoder --out runs/captioner
      showtell-train captioner --records runs/records --imagenet download --preset paper --out runs/paper
      showtell-train captioner --records runs/records --encoder runs/encoder --maps runs/maps --preset vgg19 \\
          --average 0.999 --label-smoothing 0.1 --out runs/captioner
    """  # noqa: D301 - \b tells click not to wrap
    from training.decoder.tasks import DecoderTask
    from training.loop.replicas import Replicas

    if (encoder is None) == (imagenet is None):
        raise click.UsageError("expected either --encoder or --imagenet; give one of them")
    architecture = PRESETS[preset]()
    architecture = replace(architecture, decoder=chosen(architecture.decoder, options))
    config = chosen(paper_captioner() if preset == "paper" else CaptionerTrainingConfig(), options)
    config = replace(config, optimizer=chosen(config.optimizer, options), source_weights=read_weights(weights))
    replicas = Replicas.start(chosen(DeviceConfig(), options))
    source = encoder if encoder is not None else imagenet_file(str(imagenet), replicas)
    options |= {"encoder": encoder, "records": records, "captioner_run": start_from}

    def task() -> DecoderTask:
        return DecoderTask(source, records, architecture, config, replicas, start_from=start_from, maps=maps)

    train(out, options, replicas, task)


@click.command()
@_trained_decoder
@flags(SelfCriticalConfig)
@option("--weight", "weights", multiple=True, help="NAME=NUMBER: weight of each photo of a source; 0 leaves them out.")
@option(
    "--maps", type=EXISTING, help="Directory from `maps` with all photos, so that only the encoder's last block runs."
)
@optimizer_flags
@device_flags
@run_flags
@reported
def self_critical(
    records: Path, encoder: Path, captioner_run: Path, out: Path, maps: Path | None, weights: tuple[str, ...],
    **options: Any,
) -> None:  # fmt: skip
    """Trains a decoder further on captions that it samples itself; those with a better CIDEr become more likely.

    CIDEr rises, and captions become more alike. Keeps the best on dev.

    \b
    Example:
      showtell-train self-critical --records runs/records --encoder runs/encoder --captioner runs/captioner \\
          --out runs/self-critical
      showtell-train export --records runs/records --encoder runs/encoder --captioner runs/self-critical \\
          --out my-bundle
    """  # noqa: D301 - \b tells click not to wrap
    from training.decoder.self_critical import SelfCriticalTask
    from training.loop.replicas import Replicas

    config = chosen(SelfCriticalConfig(), options)
    config = replace(config, optimizer=chosen(config.optimizer, options), source_weights=read_weights(weights))
    replicas = Replicas.start(chosen(DeviceConfig(), options))
    options |= {"encoder": encoder, "captioner_run": captioner_run, "records": records}
    task = lambda: SelfCriticalTask(encoder, captioner_run, records, config, replicas, maps=maps)  # noqa: E731
    train(out, options, replicas, task)


@click.command()
@_trained_decoder
@flags(
    CaptionerTrainingConfig,
    *("epochs", "label_smoothing", "seed"),
    preset=True,
    about={"epochs": "Passes over all photos.", "seed": "Seed of order, augmentation and dropout."},
)
@flags(FinetuneConfig, preset=True)
@option(
    "--maps",
    type=EXISTING,
    help="Directory from `maps` with all photos. Trains only the layers behind the maps, far faster.",
)
@option("--answers", type=EXISTING, help="With --maps: directory from `answers`. Trains the classes too.")
@option(
    "--class-weight",
    type=click.FloatRange(0),
    default=0.1,
    help="Weight of the loss from --answers; the captions' weight is 1.",
)
@pipeline_flags
@optimizer_flags
@device_flags
@run_flags
@reported
def finetune(
    records: Path, encoder: Path, captioner_run: Path, out: Path, maps: Path | None, answers: Path | None,
    class_weight: float, **options: Any,
) -> None:  # fmt: skip
    """Trains a decoder and its encoder together, from photos; keeps the best on dev.

    \b
    Example:
      showtell-train finetune --records runs/records --encoder runs/encoder --captioner runs/captioner \\
          --out runs/finetuned
      showtell-train export --records runs/records --encoder runs/finetuned --captioner runs/finetuned --out my-bundle
    """  # noqa: D301 - \b tells click not to wrap
    from training.decoder.finetune import FinetuneTask
    from training.decoder.finetune_maps import MapsFinetuneTask
    from training.decoder.tasks import CaptionTask
    from training.loop.replicas import Replicas

    if answers is not None and maps is None:
        raise click.UsageError("expected --maps with --answers, received --answers alone; give both")

    config = chosen(FinetuneConfig(), options)
    captions = chosen(config.captions, {name: value for name, value in options.items() if name != "batch_size"})
    config = replace(
        config,
        captions=replace(captions, optimizer=chosen(captions.optimizer, options)),
        pipeline=chosen(config.pipeline, options),
    )
    replicas = Replicas.start(chosen(DeviceConfig(), options))
    options |= {"encoder": encoder, "captioner_run": captioner_run, "records": records}

    def task() -> CaptionTask:
        if maps is None:
            return FinetuneTask(encoder, captioner_run, records, config, replicas)
        given = (encoder, captioner_run, records, maps, config, replicas)
        return MapsFinetuneTask(*given, answers=answers, class_weight=class_weight)

    train(out, options, replicas, task)
