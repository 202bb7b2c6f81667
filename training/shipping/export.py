"""Export of run directories as the bundle that is served."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.bundle import CONFIG, Bundle, ClassName, save_bundle
from model.captioner import Captioner, Prediction
from model.config import CaptionerConfig, SearchConfig
from model.engines.lite import LiteEngine
from model.errors import ConfigError
from model.vocabulary import Vocabulary
from model.weights import bundle_weights
from training.data.records import VOCABULARY, has_split, read_max_words
from training.decoder.belonging import check_belongs
from training.decoder.earlier import load_decoder, plain_decoder
from training.encoder.sources import load_encoder
from training.progress import note
from training.scoring.evaluate import Evaluation, evaluate
from training.shipping.convert import calibration_photos, convert

SCORED = "dev"
"""The split that a bundle is scored on."""

_BATCH = 32


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


def checked_search(own: SearchConfig, records: Path, given: Mapping[str, Any]) -> SearchConfig:
    """Returns the search defaults of a bundle.

    Args:
        own: Those of the run.
        records: The records that it was trained on.
        given: Fields of `SearchConfig` that are asked for; None where nothing is.

    Raises:
        ConfigError: Captions are asked for that are longer than those of the records.
    """
    search = replace(own, **{name: value for name, value in given.items() if value is not None})
    known = read_max_words(records)
    if known is not None and search.max_words > known:
        raise ConfigError(
            f"max_words: expected at most {known}, the most words of the captions in {records} that the decoder was "
            f"trained on, received {search.max_words}; or prepare records with --max-words {search.max_words}, and "
            "train on them"
        )
    return search


def export(
    path: Path, bundle: Bundle, records: Path, stages: Mapping[str, Any], *,
    name: str, version: str, card: Mapping[str, str], search: SearchConfig,
) -> Evaluation | None:  # fmt: skip
    """Scores a bundle on dev and writes it with the CPU engine's files, its scores and how it was made.

    Args:
        path: Where the bundle goes.
        bundle: From `assemble`.
        records: Finished records.
        stages: How each stage was run, by its name; see `training.provenance.stage`.
        name: Name that clients see.
        version: Version that clients see.
        card: In words: `data`, what it was trained on, and `good_at` and `bad_at` for users. Empty ones are left out.
        search: Search defaults to serve with.

    Returns:
        The scores that were written; None where the records have no dev.

    Raises:
        BundleError: The parts do not agree, or `path` holds something else.
    """
    provenance: dict[str, Any] = {**{key: text for key, text in card.items() if text}, "stages": dict(stages)}
    config = replace(bundle.config, name=name, version=version, search=search, provenance=provenance)
    return add_lite_files(path, replace(bundle, config=config), records)


def add_lite_files(path: Path, bundle: Bundle, records: Path) -> Evaluation | None:
    """Converts a bundle for the CPU engine, scores both engines on dev, and writes it with files and scores.

    Both engines get the encoder's int8 weights, which the bundle holds once.

    Args:
        path: Where the bundle goes; the bundle itself where it is there already.
        bundle: What to convert.
        records: Finished records: train calibrates the rounding, dev is scored.

    Returns:
        The scores of the TensorFlow engine; None where the records have no dev. The bundle's provenance says how far
        the engines agree: on dev, or else on the photos that calibrate.

    Raises:
        BundleError: `path` holds something else.
    """
    photos = calibration_photos(records)
    files, kernels = convert(bundle, photos)
    bundle = replace(bundle, weights={**bundle.weights, **{name: value.kernel for name, value in kernels.items()}})
    captioner = Captioner.of(bundle)
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            (Path(folder) / file).write_bytes(content)
        engine = LiteEngine.of(Path(folder), bundle.config)
        lite = Captioner(bundle.config, bundle.vocabulary, bundle.classes, engine)
        if has_split(records, SCORED):
            evaluation = evaluate(captioner, records, SCORED)
            found = parity(evaluation, evaluate(lite, records, SCORED))
        else:
            note(f"{records} have no split {SCORED}: the bundle has no scores")
            evaluation = None
            found = agreement(_predictions(captioner, photos), _predictions(lite, photos))
    config = _with_scores(bundle.config, evaluation, found)
    save_bundle(path, replace(bundle, config=config), files, kernels)
    return evaluation


def _with_scores(config: CaptionerConfig, evaluation: Evaluation | None, found: Mapping[str, float]) -> CaptionerConfig:
    provenance = {name: value for name, value in config.provenance.items() if name != "scoring"} | {"parity": found}
    if evaluation is None:
        return replace(config, provenance=provenance, scores={})
    scoring = f"{SCORED}, beam {config.search.beam_size}, tokenizer {evaluation.tokenizer}, scores times 100"
    return replace(config, provenance=provenance | {"scoring": scoring}, scores={SCORED: evaluation.scores})


def _predictions(captioner: Captioner, photos: npt.NDArray[np.uint8]) -> list[Prediction]:
    starts = range(0, len(photos), _BATCH)
    return [found for start in starts for found in captioner.predict(photos[start : start + _BATCH], classes=1)]


def agreement(first: Sequence[Prediction], second: Sequence[Prediction]) -> dict[str, float]:
    """Returns how far two engines agree on the same photos: equal best captions and first classes in %."""
    pairs = list(zip(first, second, strict=True))
    captions = sum(one.captions[0].text == two.captions[0].text for one, two in pairs)
    classes = sum(one.classes[0].id == two.classes[0].id for one, two in pairs)
    return {"captions": round(100 * captions / len(pairs), 1), "classes": round(100 * classes / len(pairs), 1)}


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
