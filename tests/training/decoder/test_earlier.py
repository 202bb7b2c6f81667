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
from training.decoder.earlier import CONFIG, go_on_from, new_decoder, plain_decoder
from training.loop.checkpoint import BEST, named_variables, save_checkpoint

EARLIER = Vocabulary([*SPECIAL, "dog", "runs", "red"])
LATER = Vocabulary([*SPECIAL, "zebra", "runs", "in", "dog"])


def config_of(vocabulary: Vocabulary, **options: Any) -> CaptionerConfig:
    config = with_vocabulary_size(small(), len(vocabulary))
    return replace(config, decoder=replace(config.decoder, embedding_units=8, **({"units": 6} | options)))


def decoder_of(config: CaptionerConfig, seed: int) -> Decoder:
    keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    decoder = new_decoder(config, random.normal(3, 2, (50, config.encoder.feature_units)).astype(np.float32))
    bias = decoder.output_layer.bias
    bias.assign(random.normal(size=bias.shape))
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
    assert "2 words are known from" in capsys.readouterr().err


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


@pytest.mark.parametrize("options", [{}, {"tied_embeddings": True}, {"layers": 2, "image_every_step": False}])
def test_a_plain_decoder_computes_the_same_from_features_as_they_are(options: dict[str, Any]) -> None:
    config = config_of(EARLIER, **options)
    trained = decoder_of(config, 1)
    plain = plain_decoder(trained, config.encoder.feature_units)
    assert logits_of(plain, config, EARLIER) == pytest.approx(logits_of(trained, config, EARLIER), rel=1e-4, abs=1e-5)
    assert [tuple(v.shape) for v in plain.weights] == [tuple(v.shape) for v in trained.trainable_variables]


def test_a_new_decoder_sees_features_of_mean_0_and_deviation_1() -> None:
    config = config_of(EARLIER)
    features = np.random.default_rng(3).normal(3, 2, (50, config.encoder.feature_units)).astype(np.float32)
    features[:, 0] = 7
    projection: Any = new_decoder(config, features).projection
    standardized = (features - np.asarray(projection.mean)) / np.asarray(projection.deviation)
    np.testing.assert_allclose(standardized.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(standardized[:, 1:].std(axis=0), 1, rtol=1e-4)
    assert not standardized[:, 0].any()
    assert float(projection.deviation[0]) == pytest.approx(0.2, rel=0.2)  # not blown up when it moves
