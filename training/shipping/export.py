"""Export of run directories as the bundle that is served."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model.bundle import Bundle, ClassName, save_bundle
from model.captioner import Captioner
from model.config import CaptionerConfig, SearchConfig
from model.engines.lite import LiteEngine
from model.vocabulary import Vocabulary
from model.weights import bundle_weights
from training.data.records import VOCABULARY
from training.decoder.earlier import CONFIG, check_belongs, load_decoder, plain_decoder
from training.encoder.sources import load_encoder
from training.scoring.evaluate import Evaluation, evaluate
from training.shipping.convert import calibration_photos, convert


def assemble(encoder_run: Path, captioner_run: Path, records: Path, classes: tuple[ClassName, ...]) -> Bundle:
    """Joins an encoder and the best decoder trained on it: batch norm folded, weights in float16.

    Args:
        encoder_run: Where the encoder comes from; see `training.encoder.sources.encoder_file`.
        captioner_run: Run directory of the decoder; the same one where both were fine-tuned together.
        records: The records that the decoder was trained on.
        classes: Names of the encoder's classes, in output order.

    Returns:
        The bundle, without scores.

    Raises:
        DataError: A run directory has no trained network yet, or the two do not belong together.
    """
    check_belongs(captioner_run, encoder_run, records)
    encoder, encoder_config, _ = load_encoder(encoder_run)
    config = CaptionerConfig.from_json((captioner_run / CONFIG).read_text())
    decoder = plain_decoder(load_decoder(captioner_run, config), encoder_config.feature_units)
    served = replace(
        config,
        encoder=replace(encoder_config, batch_norm=False, residual=False, dropout=0.0),
        decoder=replace(config.decoder, dropout=0.0),
    )
    return Bundle(
        served, Vocabulary.load(captioner_run / VOCABULARY), classes, bundle_weights(encoder, decoder, np.float16)
    )


def export(
    path: Path, bundle: Bundle, records: Path, stages: Mapping[str, Any], *,
    name: str, version: str, data: str, search: SearchConfig,
) -> Evaluation:  # fmt: skip
    """Scores a bundle on dev and writes it with the CPU engine's files, its scores and how it was made.

    Args:
        path: Where the bundle goes.
        bundle: From `assemble`.
        records: Finished records with a split dev.
        stages: How each stage was run, by its name; see `training.provenance.stage`.
        name: Name that clients see.
        version: Version that clients see.
        data: What it was trained on, in words.
        search: Search defaults to serve with.

    Returns:
        The scores that were written.

    Raises:
        BundleError: The parts do not agree, or `path` holds something else.
    """
    provenance: dict[str, Any] = {"data": data, "stages": dict(stages)}
    config = replace(bundle.config, name=name, version=version, search=search, provenance=provenance)
    return add_lite_files(path, replace(bundle, config=config), records)


def add_lite_files(path: Path, bundle: Bundle, records: Path) -> Evaluation:
    """Converts a bundle for the CPU engine, scores both engines on dev, and writes it with files and scores.

    Both engines get the encoder's int8 weights, which the bundle holds once.

    Args:
        path: Where the bundle goes; the bundle itself where it is there already.
        bundle: What to convert.
        records: Finished records: train calibrates the rounding, dev is scored.

    Returns:
        The scores of the TensorFlow engine. The bundle's provenance says how far the engines agree.

    Raises:
        BundleError: `path` holds something else.
    """
    files, kernels = convert(bundle, calibration_photos(records))
    bundle = replace(bundle, weights={**bundle.weights, **{name: value.kernel for name, value in kernels.items()}})
    evaluation = evaluate(Captioner.of(bundle), records, "dev")
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            (Path(folder) / file).write_bytes(content)
        engine = LiteEngine.of(Path(folder), bundle.config)
        lite = evaluate(Captioner(bundle.config, bundle.vocabulary, bundle.classes, engine), records, "dev")
    provenance = dict(bundle.config.provenance) | {
        "scoring": f"dev, beam {bundle.config.search.beam_size}, tokenizer {evaluation.tokenizer}, scores times 100",
        "parity": parity(evaluation, lite),
    }
    config = replace(bundle.config, provenance=provenance, scores={"dev": evaluation.scores})
    save_bundle(path, replace(bundle, config=config), files, kernels)
    return evaluation


def parity(evaluation: Evaluation, other: Evaluation) -> dict[str, float]:
    """Returns how far two engines agree on the same photos: equal best captions and first classes in %, and BLEU-4."""
    (first,) = evaluation.beams.values()
    (second,) = other.beams.values()
    photos = len(first.captions)
    captions = sum(caption.text == second.captions[name].text for name, caption in first.captions.items())
    classes = sum(found.id == other.classes[name].id for name, found in evaluation.classes.items())
    return {
        "captions": round(100 * captions / photos, 1),
        "classes": round(100 * classes / photos, 1),
        "BLEU-4": first.scores["BLEU-4"],
        "BLEU-4 of the CPU engine": second.scores["BLEU-4"],
    }
