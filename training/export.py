"""From run directories to the bundle that is served."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model.bundle import Bundle, ClassName, save_bundle
from model.captioner import Captioner
from model.config import CaptionerConfig, SearchConfig
from model.vocabulary import Vocabulary
from model.weights import bundle_weights
from training.captioner import CONFIG, check_belongs, load_decoder
from training.encoders import load_encoder
from training.evaluate import Evaluation, evaluate
from training.records import VOCABULARY


def assemble(encoder_run: Path, captioner_run: Path, records: Path, classes: tuple[ClassName, ...]) -> Bundle:
    """Joins an encoder and the best decoder trained on it: batch norm folded, weights in float16.

    Args:
        encoder_run: Where the encoder comes from; see `training.encoders.encoder_file`.
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
    decoder = load_decoder(captioner_run, config)
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
