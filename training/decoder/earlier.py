"""Decoders to go on from, of a run or a bundle: loading one, giving it other words. Keras 3 alone, any backend."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.bundle import CONFIG, VOCABULARY, WEIGHTS, load_bundle
from model.config import CaptionerConfig, DecoderConfig
from model.decoder import Decoder
from model.errors import DataError
from model.vocabulary import SPECIAL, Vocabulary
from model.weights import assign_weights
from training.loop.checkpoint import BEST, load_checkpoint, named_variables
from training.progress import note
from training.standardized import StandardizedDense

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


def decoder_file(captioner_run: Path) -> Path:
    """Returns the file that holds a decoder's weights.

    Args:
        captioner_run: A run directory of `captioner`, `self-critical`, `finetune` or `joint`, or a bundle.

    Raises:
        DataError: There is no trained decoder.
    """
    found = next((captioner_run / name for name in (BEST, WEIGHTS) if (captioner_run / name).is_file()), None)
    if found is None:
        raise DataError(
            f"{captioner_run}: expected a trained decoder ({BEST}), found none; run `showtell-train captioner`, or "
            "give a bundle"
        )
    return found


def load_decoder(
    captioner_run: Path, config: CaptionerConfig, features: npt.NDArray[np.float32] | None = None
) -> Decoder:
    """Loads a decoder, to train it further.

    Args:
        captioner_run: See `decoder_file`.
        config: Its architecture.
        features: Features of its training photos, (P, D): a bundle's decoder, which does not standardize them, does so
            from now on, with the same outputs. A run's decoder knows how already.

    Raises:
        BundleError: The bundle is damaged.
        DataError: There is none, or its file is damaged.
    """
    file = decoder_file(captioner_run)
    if file.name == BEST:
        decoder = new_decoder(config)
        load_checkpoint(file, named_variables(decoder, "decoder"))
        return decoder
    plain = Decoder(config.decoder, config.encoder.feature_units)
    assign_weights(plain, load_bundle(captioner_run).weights, "decoder")
    decoder = new_decoder(config, features)
    for variable, value in zip(decoder.trainable_variables, plain.trainable_variables, strict=True):
        variable.assign(value)
    if plain.projection is not None and isinstance(decoder.projection, StandardizedDense):
        decoder.projection.set_plain_weights(*plain.projection.get_weights())
    return decoder


def plain_decoder(decoder: Decoder, feature_units: int) -> Decoder:
    """Returns an equivalent decoder for bundles, which reads features (B, D) without standardization."""
    plain = Decoder(decoder.config, feature_units)
    for variable, value in zip(plain.trainable_variables, decoder.trainable_variables, strict=True):
        variable.assign(value)
    if plain.projection is not None and isinstance(decoder.projection, StandardizedDense):
        plain.projection.set_weights(decoder.projection.plain_weights())
    return plain


def shaped_like(captioner_run: Path, preset: CaptionerConfig) -> CaptionerConfig:
    """Returns a preset with the architecture of an earlier decoder, which keeps the preset's dropout.

    Args:
        captioner_run: See `decoder_file`.
        preset: The preset.

    Raises:
        DataError: There is no trained decoder.
    """
    decoder_file(captioner_run)
    found = CaptionerConfig.from_json((captioner_run / CONFIG).read_text()).decoder
    own = preset.decoder
    return replace(preset, decoder=replace(found, dropout=own.dropout, word_dropout=own.word_dropout))


def go_on_from(
    captioner_run: Path, decoder: Decoder, config: CaptionerConfig, vocabulary: Vocabulary,
    features: npt.NDArray[np.float32],
) -> None:  # fmt: skip
    """Gives a new decoder the weights of an earlier one.

    Words that both know keep their embedding and output weights; new words keep their fresh ones.

    Args:
        captioner_run: The earlier decoder; see `decoder_file`.
        decoder: The new decoder.
        config: Its architecture; that of the earlier decoder may differ only in words, dropout and search.
        vocabulary: Its words.
        features: See `load_decoder`.

    Raises:
        DataError: There is no trained decoder, or its architecture differs.
    """
    decoder_file(captioner_run)
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
    for variable, value in zip(
        decoder.weights, load_decoder(captioner_run, found, features).get_weights(), strict=True
    ):
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
