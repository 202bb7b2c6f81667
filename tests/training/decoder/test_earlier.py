"""A decoder that goes on from an earlier run or a bundle, whose words may be others."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from model.bundle import CONFIG, Bundle, ClassName, save_bundle
from model.config import CaptionerConfig
from model.decoder import Decoder
from model.encoder import build_encoder
from model.errors import DataError
from model.presets import small, with_vocabulary_size
from model.vocabulary import SPECIAL, Vocabulary
from model.weights import bundle_weights
from training.data.captioned import CaptionedImage
from training.data.records import VOCABULARY, write_records
from training.decoder.belonging import check_belongs
from training.decoder.earlier import (
    go_on_from,
    load_decoder,
    new_decoder,
    plain_decoder,
    shaped_like,
)
from training.loop.checkpoint import BEST, named_variables, save_checkpoint

EARLIER = Vocabulary([*SPECIAL, "dog", "runs", "red"])
LATER = Vocabulary([*SPECIAL, "zebra", "runs", "in", "dog"])
FEATURES = np.random.default_rng(4).normal(3, 2, (50, small().encoder.feature_units)).astype(np.float32)


def config_of(vocabulary: Vocabulary, **options: Any) -> CaptionerConfig:
    config = with_vocabulary_size(small(), len(vocabulary))
    return replace(config, decoder=replace(config.decoder, embedding_units=8, **({"units": 6} | options)))


def decoder_of(config: CaptionerConfig, seed: int) -> Decoder:
    keras.utils.set_random_seed(seed)
    decoder = new_decoder(config, FEATURES)
    random = np.random.default_rng(seed)
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


def earlier_bundle(directory: Path, **options: Any) -> Decoder:
    """Writes a bundle, as `export` would, and returns its decoder as it was in training."""
    config = config_of(EARLIER, **options)
    encoder = build_encoder(config.encoder)
    decoder = decoder_of(config, 1)
    weights = bundle_weights(encoder, plain_decoder(decoder, config.encoder.feature_units), np.float32)
    classes = tuple(ClassName(f"n{index}", f"class_{index}") for index in range(config.encoder.classes))
    served = replace(config, encoder=replace(config.encoder, batch_norm=False, residual=False, dropout=0.0))
    save_bundle(directory, Bundle(served, EARLIER, classes, weights))
    return decoder


Made = Callable[..., Decoder]


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
@pytest.mark.parametrize("make", [earlier_run, earlier_bundle])
def test_words_that_both_know_keep_their_scores(tmp_path: Path, options: dict[str, Any], make: Made) -> None:
    earlier = make(tmp_path / "run", **options)
    config = config_of(LATER, dropout=0.3, word_dropout=0.1, **options)
    later = decoder_of(config, 2)
    fresh = logits_of(later, config, LATER)
    go_on_from(tmp_path / "run", later, config, LATER, FEATURES)
    before = logits_of(earlier, config_of(EARLIER, **options), EARLIER)
    after = logits_of(later, config, LATER)
    for word in (*SPECIAL, "dog", "runs"):
        assert after[word] == pytest.approx(before[word], rel=1e-4, abs=1e-5)
        assert after[word] != pytest.approx(fresh[word], abs=1e-3)


@pytest.mark.parametrize("options", [{}, {"tied_embeddings": True}, {"layers": 2, "image_every_step": False}])
def test_a_bundles_decoder_says_the_same_and_standardizes_from_now_on(tmp_path: Path, options: dict[str, Any]) -> None:
    config = config_of(EARLIER, **options)
    expected = logits_of(earlier_bundle(tmp_path / "bundle", **options), config, EARLIER)
    for features in (None, FEATURES):
        decoder = load_decoder(tmp_path / "bundle", config, features)
        assert logits_of(decoder, config, EARLIER) == pytest.approx(expected, rel=1e-4, abs=1e-5)
        projection: Any = decoder.projection
        assert np.any(projection.mean) == (features is not None)


@pytest.mark.parametrize("make", [earlier_run, earlier_bundle])
def test_a_preset_takes_the_shape_of_an_earlier_decoder_and_keeps_its_own_dropout(tmp_path: Path, make: Made) -> None:
    make(tmp_path / "run", layers=2, tied_embeddings=True)
    found = shaped_like(tmp_path / "run", config_of(LATER, units=99, dropout=0.3, word_dropout=0.2)).decoder
    assert (found.units, found.layers, found.tied_embeddings) == (6, 2, True)
    assert (found.dropout, found.word_dropout) == (0.3, 0.2)


def test_a_bundles_decoder_belongs_to_its_own_encoder(tmp_path: Path) -> None:
    earlier_bundle(tmp_path / "bundle")
    earlier_bundle(tmp_path / "other")
    image = CaptionedImage(photo_of_noise(tmp_path / "a.png"), "a.png", ("dog runs", "red dog"), "train")
    write_records(tmp_path / "records", [image], EARLIER)
    check_belongs(tmp_path / "bundle", tmp_path / "bundle", tmp_path / "records")
    with pytest.raises(DataError, match="give the bundle as both"):
        check_belongs(tmp_path / "bundle", tmp_path / "other", tmp_path / "records")
    write_records(tmp_path / "others", [image], LATER)
    with pytest.raises(DataError, match="expected the vocabulary of"):
        check_belongs(tmp_path / "bundle", tmp_path / "bundle", tmp_path / "others")


def photo_of_noise(path: Path) -> Path:
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    return path


def test_new_words_start_as_those_of_a_new_decoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    earlier_run(tmp_path / "run")
    later = decoder_of(config_of(LATER), 2)
    new = np.array(later.embedding.embeddings)[LATER.words.index("zebra")]
    go_on_from(tmp_path / "run", later, config_of(LATER), LATER, FEATURES)
    assert np.array_equal(np.array(later.embedding.embeddings)[LATER.words.index("zebra")], new)
    assert "2 words are known from" in capsys.readouterr().err


@pytest.mark.parametrize("options", [{"units": 7}, {"tied_embeddings": True}, {"layers": 2}])
def test_another_architecture_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    earlier_run(tmp_path / "run", **options)
    config = config_of(LATER)
    with pytest.raises(DataError, match="give the options of that run"):
        go_on_from(tmp_path / "run", decoder_of(config, 2), config, LATER, FEATURES)


def test_features_of_another_length_are_refused(tmp_path: Path) -> None:
    earlier_run(tmp_path / "run")
    config = config_of(LATER)
    config = replace(config, encoder=replace(config.encoder, fc_units=config.encoder.fc_units + 1))
    with pytest.raises(DataError, match="features of length"):
        go_on_from(tmp_path / "run", new_decoder(config), config, LATER, FEATURES)


def test_a_run_that_has_trained_nothing_is_refused(tmp_path: Path) -> None:
    config = config_of(LATER)
    with pytest.raises(DataError, match="expected a trained decoder"):
        go_on_from(tmp_path, decoder_of(config, 2), config, LATER, FEATURES)


@pytest.mark.parametrize("options", [{}, {"tied_embeddings": True}, {"layers": 2, "image_every_step": False}])
def test_a_plain_decoder_computes_the_same_from_features_as_they_are(options: dict[str, Any]) -> None:
    config = config_of(EARLIER, **options)
    trained = decoder_of(config, 1)
    plain = plain_decoder(trained, config.encoder.feature_units)
    assert logits_of(plain, config, EARLIER) == pytest.approx(logits_of(trained, config, EARLIER), rel=1e-4, abs=1e-5)
    assert [tuple(v.shape) for v in plain.weights] == [tuple(v.shape) for v in trained.trainable_variables]


def test_a_new_decoder_sees_features_of_mean_0_and_deviation_1() -> None:
    config = config_of(EARLIER)
    features = FEATURES.copy()
    features[:, 0] = 7
    projection: Any = new_decoder(config, features).projection
    standardized = (features - np.asarray(projection.mean)) / np.asarray(projection.deviation)
    np.testing.assert_allclose(standardized.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(standardized[:, 1:].std(axis=0), 1, rtol=1e-4)
    assert not standardized[:, 0].any()
    assert float(projection.deviation[0]) == pytest.approx(0.2, rel=0.2)  # not blown up when it moves
