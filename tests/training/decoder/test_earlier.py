"""A decoder that goes on from an earlier run, whose words may be others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from model.config import CaptionerConfig
from model.decoder import Decoder
from model.errors import DataError
from model.presets import small, with_vocabulary_size
from model.vocabulary import SPECIAL, Vocabulary
from training.data.records import VOCABULARY
from training.decoder.earlier import CONFIG, go_on_from
from training.loop.checkpoint import BEST, named_variables, save_checkpoint

EARLIER = Vocabulary([*SPECIAL, "dog", "runs", "red"])
LATER = Vocabulary([*SPECIAL, "zebra", "runs", "in", "dog"])


def config_of(vocabulary: Vocabulary, **options: Any) -> CaptionerConfig:
    config = with_vocabulary_size(small(), len(vocabulary))
    return replace(config, decoder=replace(config.decoder, embedding_units=8, **({"units": 6} | options)))


def decoder_of(config: CaptionerConfig, seed: int) -> Decoder:
    keras.utils.set_random_seed(seed)
    decoder = Decoder(config.decoder, config.encoder.feature_units)
    bias = decoder.output_layer.bias
    bias.assign(np.random.default_rng(seed).normal(size=bias.shape))
    return decoder


def earlier_run(directory: Path, **options: Any) -> Decoder:
    config = config_of(EARLIER, **options)
    decoder = decoder_of(config, 1)
    directory.mkdir()
    save_checkpoint(directory / BEST, named_variables(decoder, "decoder"), {})
    (directory / CONFIG).write_text(config.to_json())
    EARLIER.save(directory / VOCABULARY)
    return decoder


def logits_of(decoder: Decoder, config: CaptionerConfig, vocabulary: Vocabulary) -> dict[str, float]:
    """Returns the score of each next word after `dog runs`."""
    features = np.linspace(0, 1, config.encoder.feature_units, dtype=np.float32)[None]
    _, state = decoder.start(features)
    for word in ("dog", "runs"):
        scores, state = decoder.step(np.array(vocabulary.encode(word)[:1]), state)
    return dict(zip(vocabulary.words, np.asarray(scores)[0], strict=True))


@pytest.mark.parametrize(
    "options",
    [{}, {"tied_embeddings": True}, {"layers": 2, "residual": True}, {"image_every_step": False}],
    ids=lambda options: ", ".join(options) or "plain",
)
def test_words_that_both_know_keep_their_scores(tmp_path: Path, options: dict[str, Any]) -> None:
    earlier = earlier_run(tmp_path / "run", **options)
    config = config_of(LATER, dropout=0.3, word_dropout=0.1, **options)
    later = decoder_of(config, 2)
    fresh = logits_of(later, config, LATER)
    go_on_from(tmp_path / "run", later, config, LATER)
    before = logits_of(earlier, config_of(EARLIER, **options), EARLIER)
    after = logits_of(later, config, LATER)
    for word in (*SPECIAL, "dog", "runs"):
        assert after[word] == pytest.approx(before[word], rel=1e-4, abs=1e-5)
        assert after[word] != pytest.approx(fresh[word], abs=1e-3)


def test_new_words_start_as_those_of_a_new_decoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    earlier_run(tmp_path / "run")
    later = decoder_of(config_of(LATER), 2)
    new = np.array(later.embedding.embeddings)[LATER.words.index("zebra")]
    go_on_from(tmp_path / "run", later, config_of(LATER), LATER)
    assert np.array_equal(np.array(later.embedding.embeddings)[LATER.words.index("zebra")], new)
    assert "2 words are those of" in capsys.readouterr().err


@pytest.mark.parametrize("options", [{"units": 7}, {"tied_embeddings": True}, {"layers": 2}])
def test_another_architecture_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    earlier_run(tmp_path / "run", **options)
    config = config_of(LATER)
    with pytest.raises(DataError, match="give the options of that run"):
        go_on_from(tmp_path / "run", decoder_of(config, 2), config, LATER)


def test_features_of_another_length_are_refused(tmp_path: Path) -> None:
    earlier_run(tmp_path / "run")
    config = config_of(LATER)
    config = replace(config, encoder=replace(config.encoder, fc_units=config.encoder.fc_units + 1))
    with pytest.raises(DataError, match="features of length"):
        go_on_from(tmp_path / "run", decoder_of(config, 2), config, LATER)


def test_a_run_that_has_trained_nothing_is_refused(tmp_path: Path) -> None:
    config = config_of(LATER)
    with pytest.raises(DataError, match="expected a trained decoder"):
        go_on_from(tmp_path, decoder_of(config, 2), config, LATER)
