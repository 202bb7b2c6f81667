"""From run directories to the bundle that is served."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model.bundle import Bundle, ClassName, save_bundle
from model.captioner import Captioner
from model.config import CaptionerConfig, SearchConfig
from model.decoder import Decoder
from model.errors import DataError
from model.vocabulary import Vocabulary
from model.weights import bundle_weights
from training.captioner import BEST, CONFIG
from training.checkpoint import load_checkpoint, read_progress
from training.distill import load_student
from training.evaluate import Evaluation, evaluate
from training.features import input_key
from training.records import VOCABULARY


def assemble(encoder_run: Path, captioner_run: Path, records: Path, classes: tuple[ClassName, ...]) -> Bundle:
    """Joins a distilled encoder and the best decoder trained on it: batch norm folded, weights in float16.

    Args:
        encoder_run: Run directory of the encoder.
        captioner_run: Run directory of the decoder.
        records: The records that the decoder was trained on.
        classes: Names of the encoder's classes, in output order.

    Returns:
        The bundle, without scores.

    Raises:
        DataError: A run directory has no trained network yet, or the two do not belong together.
    """
    if not (captioner_run / BEST).exists():
        raise DataError(
            f"{captioner_run}: expected a trained decoder ({BEST}), found none; run `showtell-train captioner`"
        )
    encoder, encoder_config = load_student(encoder_run)
    config = CaptionerConfig.from_json((captioner_run / CONFIG).read_text())
    if read_progress(captioner_run / BEST).get("inputs") != input_key(encoder_run, records):
        raise DataError(
            f"{captioner_run}: expected a decoder trained on {records} with the encoder of {encoder_run} as it is now; "
            "give the three that belong together, or train the decoder in a new directory"
        )
    decoder = Decoder(config.decoder, encoder_config.fc_units)
    load_checkpoint(captioner_run / BEST, decoder)
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
    """Scores a bundle on dev and writes it with its scores and how it was made.

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
    config = replace(bundle.config, name=name, version=version, search=search)
    evaluation = evaluate(Captioner.of(replace(bundle, config=config)), records, "dev")
    provenance: dict[str, Any] = {
        "data": data,
        "stages": dict(stages),
        "scoring": f"dev, beam {search.beam_size}, tokenizer {evaluation.tokenizer}, scores times 100",
    }
    config = replace(config, provenance=provenance, scores={"dev": evaluation.scores})
    save_bundle(path, replace(bundle, config=config))
    return evaluation
