"""Decoders of earlier runs: loading one, checking its encoder and records, and training it further with other words."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.config import CaptionerConfig, DecoderConfig
from model.decoder import Decoder
from model.errors import DataError
from model.vocabulary import SPECIAL, Vocabulary
from training.data.records import VOCABULARY, check_kind, read_max_words
from training.decoder.features import input_key
from training.loop.checkpoint import BEST, load_checkpoint, named_variables, read_progress
from training.progress import note
from training.standardized import StandardizedDense

CONFIG = "config.json"

_WORD_AXES = {"embeddings": 0, "kernel": 1, "bias": 0}
"""Axis of the words in each variable of the embedding and of the output layer."""


def new_decoder(config: CaptionerConfig, features: npt.NDArray[np.float32] | None = None) -> Decoder:
    """Returns an untrained decoder for training, which standardizes the features before it projects them.

    Args:
        config: The architecture.
        features: Features of its training photos, (P, D), for the standardization; None if weights will be loaded.
    """
    decoder = Decoder(config.decoder, config.encoder.feature_units, StandardizedDense)
    if features is not None and isinstance(decoder.projection, StandardizedDense):
        decoder.projection.adapt(features)
    return decoder


def load_decoder(captioner_run: Path, config: CaptionerConfig) -> Decoder:
    """Loads the best decoder of a run, to train it further.

    Raises:
        DataError: There is none, or its file is damaged.
    """
    decoder = new_decoder(config)
    load_checkpoint(captioner_run / BEST, named_variables(decoder, "decoder"))
    return decoder


def plain_decoder(decoder: Decoder, feature_units: int) -> Decoder:
    """Returns an equivalent decoder for bundles, which reads features (B, D) without standardization."""
    plain = Decoder(decoder.config, feature_units)
    for variable, value in zip(plain.trainable_variables, decoder.trainable_variables, strict=True):
        variable.assign(value)
    if plain.projection is not None and isinstance(decoder.projection, StandardizedDense):
        plain.projection.set_weights(decoder.projection.plain_weights())
    return plain


def check_trained(captioner_run: Path) -> None:
    """Checks that a run has a trained decoder.

    Raises:
        DataError: It has none.
    """
    if not (captioner_run / BEST).exists():
        raise DataError(
            f"{captioner_run}: expected a trained decoder ({BEST}), found none; run `showtell-train captioner`"
        )


def check_belongs(captioner_run: Path, encoder_run: Path, records: Path) -> None:
    """Checks that a decoder was trained on these records with this encoder, or together with it.

    Raises:
        DataError: It was not, or there is no trained decoder yet.
    """
    check_trained(captioner_run)
    check_kind(records, "captions")
    if (records / VOCABULARY).read_bytes() != (captioner_run / VOCABULARY).read_bytes():
        raise DataError(
            f"{captioner_run}: expected the vocabulary of {records}, found another; give the records it was trained on"
        )
    known = read_max_words(records)
    found = CaptionerConfig.from_json((captioner_run / CONFIG).read_text()).search.max_words
    if known not in (None, found):
        raise DataError(
            f"{captioner_run}: expected a decoder of captions of at most {known} words like those of {records}, found "
            f"one of {found}; give the records it was trained on, or train it anew"
        )
    place = read_progress(captioner_run / BEST)
    together = captioner_run.resolve() == encoder_run.resolve()
    if not together and place.get("inputs") != input_key(encoder_run, records):
        raise DataError(
            f"{captioner_run}: expected a decoder trained on {records} with the encoder of {encoder_run} as it is now; "
            "give the three that belong together, or train the decoder in a new directory"
        )


def go_on_from(captioner_run: Path, decoder: Decoder, config: CaptionerConfig, vocabulary: Vocabulary) -> None:
    """Gives a new decoder the weights of an earlier run's.

    Words that both know keep their embedding and output weights; new words keep their fresh ones.

    Args:
        captioner_run: Run directory of the earlier decoder.
        decoder: The new decoder.
        config: Its architecture; that of the earlier run may differ only in words, dropout and search.
        vocabulary: Its words.

    Raises:
        DataError: There is no trained decoder, or its architecture differs.
    """
    check_trained(captioner_run)
    known = Vocabulary.load(captioner_run / VOCABULARY)
    found = CaptionerConfig.from_json((captioner_run / CONFIG).read_text())
    expected, received = ((_shape(c.decoder), c.encoder.feature_units) for c in (config, found))
    if expected != received:
        raise DataError(
            f"{captioner_run}: expected a decoder {config.decoder} of features of length {expected[1]}, "
            f"found {found.decoder} of {received[1]}; give the options of that run"
        )
    earlier = {word: place for place, word in enumerate(known.words)}
    kept = [place for place, word in enumerate(vocabulary.words) if word in earlier]
    places = [earlier[vocabulary.words[place]] for place in kept]
    if vocabulary != known:
        new = len(vocabulary) - len(kept)
        note(f"{len(kept) - len(SPECIAL)} words are known from {captioner_run}, {new} are new")
    by_word = {id(v): _WORD_AXES[v.name] for layer in (decoder.embedding, decoder.output_layer) for v in layer.weights}
    for variable, value in zip(decoder.weights, load_decoder(captioner_run, found).get_weights(), strict=True):
        axis = by_word.get(id(variable))
        if axis is not None:
            rows = np.moveaxis(np.array(variable), axis, 0)
            rows[kept] = np.moveaxis(value, axis, 0)[places]
            variable.assign(np.moveaxis(rows, 0, axis))
        else:
            variable.assign(value)


def _shape(config: DecoderConfig) -> dict[str, Any]:
    """Returns the part of the architecture that an earlier and a new decoder must share."""
    return asdict(replace(config, dropout=0.0, word_dropout=0.0, vocabulary_size=len(SPECIAL) + 1))
