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
    PIPELINE,
    chosen,
    device_flags,
    flags,
    imagenet_file,
    optimizer_flags,
    option,
    pipeline_flags,
    preset_device_flags,
    read_weights,
    reported,
    run_flags,
    told_defaults,
    train,
)
from training.commands.unused import Rule, of_optimizer, refuse_unused
from training.config import (
    CaptionerTrainingConfig,
    DeviceConfig,
    FinetuneConfig,
    SelfCriticalConfig,
)
from training.presets import CAPTIONERS, DEVICES, PIPELINES_TOGETHER, USUAL

CLASS_WEIGHT = 0.1
"""Weight of the loss from a teacher's answers, by default."""


def _decoder_flag(spelled: str, **details: Any) -> Callable[..., Any]:
    """Makes a flag for a field of the decoder's architecture, whose default is the preset's."""
    yes, _, no = spelled.partition("/")
    name = yes.removeprefix("--").replace("-", "_")
    decoders = {preset: PRESETS[preset]().decoder for preset in CAPTIONERS}
    words = told_defaults(decoders, name, yes=yes.removeprefix("--"), no=no.removeprefix("--"))
    return option(spelled, default=None, show_default=words, **details)


def _trained_decoder(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags of stages that train a decoder further."""
    for decorator in (
        option("--out", type=ANY, required=True, help="Run directory."),
        option("--captioner", "captioner_run", type=EXISTING, required=True, help="Run of `captioner`, or a bundle."),
        option("--encoder", type=EXISTING, required=True, help="The encoder that the decoder was trained on."),
        option("--records", type=EXISTING, required=True, help="Caption records that the decoder was trained on."),
    ):
        function = decorator(function)
    return function


@click.command()
@option("--records", type=EXISTING, required=True, help="Caption records from `prepare`.")
@option("--encoder", type=EXISTING, help="Run of `distill`, `classifier` or `finetune`, or a bundle.")
@option("--imagenet", help="Instead of --encoder: the official Keras VGG-19 file, or `download`.")
@option(
    "--together",
    is_flag=True,
    help="Train the encoder too, from photos: from the start, if no encoder is given. --batch-size counts photos then, "
    f"and its default is {told_defaults(PIPELINES_TOGETHER, 'batch_size')}.",
)
@option("--out", type=ANY, required=True, help="Run directory.")
@option("--preset", type=click.Choice(sorted(PRESETS)), default=USUAL, help="Architecture and training.")
@flags(CaptionerTrainingConfig, defaults=CAPTIONERS)
@_decoder_flag("--dropout", type=click.FloatRange(0, 0.95), help="Dropout of the decoder: 1 - keep probability.")
@_decoder_flag("--word-dropout", type=click.FloatRange(0, 0.95), help="Share of words whose embedding is dropped.")
@_decoder_flag("--layers", type=click.IntRange(1, MAX_LAYERS), help="Stacked GRU cells.")
@_decoder_flag("--units", type=click.IntRange(1), help="Units of each cell.")
@_decoder_flag("--embedding-units", type=click.IntRange(1), help="Length of a word's embedding.")
@_decoder_flag(
    "--image-every-step/--image-once", help="Give the decoder the image beside every word, or only before the first."
)
@_decoder_flag("--residual/--no-residual", help="Add its input to the output of every cell but the first.")
@_decoder_flag("--tied-embeddings/--own-scores", help="Score words by their embeddings.")
@option(
    "--weight", "weights", multiple=True, help="NAME=NUMBER: weight of each caption of a source; 0 leaves them out."
)
@option("--start-from", type=EXISTING, help="Earlier run, or a bundle, whose decoder is trained further.")
@option(
    "--maps", type=EXISTING, help="Directory from `maps` with all photos, so that only the encoder's last block runs."
)
@optimizer_flags(defaults={name: config.optimizer for name, config in CAPTIONERS.items()})
@preset_device_flags
@run_flags
@reported
def captioner(
    records: Path,
    encoder: Path | None,
    imagenet: str | None,
    together: bool,
    out: Path,
    preset: str,
    weights: tuple[str, ...],
    start_from: Path | None,
    maps: Path | None,
    **options: Any,
) -> None:
    """Trains the decoder on a frozen encoder's features; keeps the best on dev.

    The features are computed once and kept beside the records. Options that are not given are the preset's; the
    architecture is that of --start-from where there is one. With --together nothing is frozen.

    \b
    Examples:
      showtell-train captioner --records runs/records --encoder model/bundles/default --out runs/captioner
      showtell-train captioner --records runs/records --encoder model/bundles/default \\
          --start-from model/bundles/default --learning-rate 5e-4 --out runs/captioner
      showtell-train captioner --records runs/records --encoder runs/encoder --out runs/captioner
      showtell-train captioner --records runs/records --imagenet download --preset paper --out runs/paper
      showtell-train captioner --records runs/records --encoder runs/encoder --maps runs/maps --preset vgg19 \\
          --average 0.999 --label-smoothing 0.1 --out runs/captioner
      showtell-train captioner --records runs/records --preset original --together --out runs/original
    """  # noqa: D301 - \b tells click not to wrap
    from training.decoder.earlier import shaped_like
    from training.decoder.features import load_features, sketched_features
    from training.decoder.tasks import CaptionTask, DecoderTask
    from training.decoder.together import TogetherTask
    from training.loop.replicas import Replicas

    _check_sources(encoder, imagenet, together=together)
    config = chosen(CAPTIONERS[preset], options)
    config = replace(config, optimizer=chosen(config.optimizer, options), source_weights=read_weights(weights))
    frozen = {"weight": weights or None, "start_from": start_from, "maps": maps}
    rules = [Rule(name, not together, "no --together") for name in frozen]
    samples = Rule("negative_samples", config.loss == "sampled", "--loss sampled")
    refuse_unused({**options, **frozen}, [*rules, samples, *of_optimizer(config.optimizer)])
    architecture = PRESETS[preset]() if start_from is None else shaped_like(start_from, PRESETS[preset]())
    architecture = replace(architecture, decoder=chosen(architecture.decoder, options))
    replicas = Replicas.start(chosen(DEVICES[preset], options))
    source = encoder if imagenet is None else imagenet_file(imagenet, replicas)
    options |= {"encoder": encoder, "records": records, "captioner_run": start_from}

    def task() -> CaptionTask:
        if source is None or together:
            rate = config.optimizer.learning_rate
            pipeline = chosen(PIPELINES_TOGETHER[preset], options)
            both = FinetuneConfig(captions=config, pipeline=pipeline, encoder_learning_rate=rate)
            return TogetherTask(records, architecture, both, replicas, source)
        given = (source, records, architecture, config, replicas)
        features = sketched_features if options["estimate"] else load_features
        return DecoderTask(*given, start_from=start_from, maps=maps, features=features)

    train(out, options, replicas, task)


def _check_sources(encoder: Path | None, imagenet: str | None, *, together: bool) -> None:
    given = (encoder is not None) + (imagenet is not None)
    if given > 1 or (given == 0 and not together):
        raise click.UsageError("expected either --encoder or --imagenet; give one of them, or neither with --together")


@click.command()
@_trained_decoder
@flags(SelfCriticalConfig)
@option("--weight", "weights", multiple=True, help="NAME=NUMBER: weight of each photo of a source; 0 leaves them out.")
@option(
    "--maps", type=EXISTING, help="Directory from `maps` with all photos, so that only the encoder's last block runs."
)
@optimizer_flags(defaults={"": SelfCriticalConfig().optimizer})
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
    from training.decoder.features import load_features, sketched_features
    from training.decoder.self_critical import SelfCriticalTask
    from training.loop.replicas import Replicas

    config = chosen(SelfCriticalConfig(), options)
    config = replace(config, optimizer=chosen(config.optimizer, options), source_weights=read_weights(weights))
    refuse_unused(options, of_optimizer(config.optimizer))
    replicas = Replicas.start(chosen(DeviceConfig(), options))
    options |= {"encoder": encoder, "captioner_run": captioner_run, "records": records}

    def task() -> SelfCriticalTask:
        given = (encoder, captioner_run, records, config, replicas)
        return SelfCriticalTask(*given, maps=maps, features=sketched_features if options["estimate"] else load_features)

    train(out, options, replicas, task)


@click.command()
@_trained_decoder
@flags(
    CaptionerTrainingConfig,
    *("epochs", "label_smoothing", "seed"),
    defaults={"": FinetuneConfig().captions},
    about={"epochs": "Passes over all photos.", "seed": "Seed of order, augmentation and dropout."},
)
@flags(FinetuneConfig)
@option(
    "--maps",
    type=EXISTING,
    help="Directory from `maps` with all photos. Trains only the layers behind the maps, far faster.",
)
@option("--answers", type=EXISTING, help="With --maps: directory from `answers`. Trains the classes too.")
@option(
    "--class-weight",
    type=click.FloatRange(0),
    show_default=str(CLASS_WEIGHT),
    help="Weight of the loss from --answers; the captions' weight is 1.",
)
@pipeline_flags(defaults={"": FinetuneConfig().pipeline})
@optimizer_flags(defaults={"": FinetuneConfig().captions.optimizer})
@device_flags
@run_flags
@reported
def finetune(
    records: Path, encoder: Path, captioner_run: Path, out: Path, maps: Path | None, answers: Path | None,
    class_weight: float | None, **options: Any,
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
    photos = [Rule(name, maps is None, "no --maps") for name in PIPELINE if name != "batch_size"]
    weight = Rule("class_weight", answers is not None, "--answers")
    config = chosen(FinetuneConfig(), options)
    captions = chosen(config.captions, {name: value for name, value in options.items() if name != "batch_size"})
    config = replace(
        config,
        captions=replace(captions, optimizer=chosen(captions.optimizer, options)),
        pipeline=chosen(config.pipeline, options),
    )
    rules = [*photos, weight, *of_optimizer(config.captions.optimizer)]
    refuse_unused({"class_weight": class_weight, **options}, rules)
    replicas = Replicas.start(chosen(DeviceConfig(), options))
    options |= {"encoder": encoder, "captioner_run": captioner_run, "records": records}

    def task() -> CaptionTask:
        if maps is None:
            return FinetuneTask(encoder, captioner_run, records, config, replicas)
        given = (encoder, captioner_run, records, maps, config, replicas)
        weight = CLASS_WEIGHT if class_weight is None else class_weight
        return MapsFinetuneTask(*given, answers=answers, class_weight=weight)

    train(out, options, replicas, task)
