"""Both engines say what the networks say, and the best of it; TensorFlow's traces no more under traffic."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from model.bundle import Bundle
from model.config import MAX_BEAM_SIZE, DecoderConfig, EncoderConfig
from model.decoder import Decoder
from model.encoder import build_encoder
from model.engines.lite import LiteEngine
from model.engines.protocol import Engine
from model.engines.tensorflow import TensorFlowEngine
from model.vocabulary import END_ID, PAD_ID, UNKNOWN_ID
from model.weights import assign_weights

Images = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]


@pytest.fixture(scope="module", params=["tensorflow", "litert"])
def engine(request: pytest.FixtureRequest, toy: Bundle, toy_bundle: Path) -> Engine:
    return LiteEngine.of(toy_bundle, toy.config) if request.param == "litert" else TensorFlowEngine.of(toy)


def tolerance(engine: Engine) -> dict[str, Any]:
    """Returns how far an engine may be from Keras: the decoder of the CPU engine has float16 weights."""
    return {"rtol": 3e-3, "atol": 2e-3} if engine.name == "litert" else {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def decoder(toy: Bundle) -> Decoder:
    """Returns the decoder that the engine should be running."""
    decoder = Decoder(toy.config.decoder, toy.config.encoder.feature_units)
    assign_weights(decoder, toy.weights, "decoder")
    return decoder


@pytest.fixture(scope="module")
def features() -> Array:
    return np.random.default_rng(5).uniform(0, 3, (4, 16)).astype(np.float32)


def log_softmax(logits: Any) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.log_softmax(logits)))


def check_best(log_probs: Array, ids: Array, logits: Any, barred: set[int], allowed: dict[str, Any]) -> None:
    """Checks that the allowed words came with the log-probabilities of the full softmax, best first."""
    full = log_softmax(logits)
    assert (log_probs.dtype, ids.dtype) == (np.dtype(np.float32), np.dtype(np.int32))
    assert log_probs.shape == ids.shape == (len(full), MAX_BEAM_SIZE)
    np.testing.assert_allclose(log_probs, np.take_along_axis(full, ids, axis=1), **allowed)
    assert (np.diff(log_probs, axis=1) <= 0).all()
    assert not barred & set(ids.ravel().tolist())
    for row, kept in zip(full, ids, strict=True):
        left_out = set(range(full.shape[1])) - set(kept.tolist()) - barred
        assert all(row[word] <= row[kept].min() + 2 * allowed["atol"] for word in left_out)


def test_the_encoder_runs_the_weights_of_the_bundle(toy: Bundle, engine: Engine, images: Images) -> None:
    encoder = build_encoder(toy.config.encoder)
    assign_weights(encoder, toy.weights, "encoder")
    expected = encoder(images, training=False)
    encoded = engine.encode(images)
    np.testing.assert_allclose(encoded.features, expected["features"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(encoded.class_probabilities, keras.ops.softmax(expected["logits"]), rtol=1e-4)
    np.testing.assert_allclose(encoded.class_probabilities.sum(axis=1), np.ones(4), rtol=1e-5)


def test_different_images_have_different_features(engine: Engine, images: Images) -> None:
    features = np.asarray(engine.encode(images).features)
    assert len(np.unique(features.round(4), axis=0)) == len(images)


def test_a_batch_is_encoded_as_each_image_alone(engine: Engine, images: Images) -> None:
    together = engine.encode(images)
    alone = [engine.encode(images[index : index + 1]) for index in range(len(images))]
    features = np.concatenate([np.asarray(one.features) for one in alone])
    np.testing.assert_allclose(np.asarray(together.features), features, rtol=1e-4, atol=1e-5)
    probabilities = np.concatenate([one.class_probabilities for one in alone])
    np.testing.assert_allclose(together.class_probabilities, probabilities, rtol=1e-4)


def test_the_first_words_are_the_best_of_the_decoder_without_the_end(
    engine: Engine, decoder: Decoder, features: Array
) -> None:
    log_probs, ids, state = engine.start(features)
    logits, expected_state = decoder.start(features)
    check_best(log_probs, ids, logits, {PAD_ID, UNKNOWN_ID, END_ID}, tolerance(engine))
    np.testing.assert_allclose(state, expected_state, **tolerance(engine))


def test_the_next_words_are_the_best_of_the_decoder_after_each_parent(engine: Engine, decoder: Decoder) -> None:
    state = np.random.default_rng(8).uniform(-1, 1, (4, 12)).astype(np.float32)
    tokens = np.array([3, 9, 9, 4, 3, 5], np.int32)
    parents = np.array([3, 1, 0, 0, 2, 3], np.int32)
    log_probs, ids, after = engine.step(tokens, parents, state)
    logits, expected_after = decoder.step(tokens, state[parents])
    check_best(log_probs, ids, logits, {PAD_ID, UNKNOWN_ID}, tolerance(engine))
    np.testing.assert_allclose(after[:6], expected_after, **tolerance(engine))


def test_the_end_is_among_the_words_that_follow(engine: Engine, features: Array) -> None:
    _, ids, state = engine.start(features)
    _, following, _ = engine.step(ids.T[:4].ravel(), np.tile(np.arange(4, dtype=np.int32), 4), state)
    assert END_ID in following


def test_a_vocabulary_smaller_than_the_beam_offers_no_special_word_with_a_probability(images: Images) -> None:
    encoder = build_encoder(EncoderConfig(widths=(0.02,) * 5, fc_units=4, classes=2, input_pooling=7))
    decoder = Decoder(DecoderConfig(vocabulary_size=5, embedding_units=4, units=4), 4)
    small = TensorFlowEngine(encoder, decoder)
    log_probs, ids, state = small.start(small.encode(images).features)
    assert ids.shape == (4, 5)
    assert set(ids[np.isfinite(log_probs)].tolist()) == {3, 4}
    log_probs, ids, _ = small.step(ids[:, 0], np.arange(4, dtype=np.int32), state)
    assert set(ids[np.isfinite(log_probs)].tolist()) == {END_ID, 3, 4}
    assert (np.exp(log_probs).sum(axis=1) < 1).all()


def test_the_same_input_gives_the_same_output(engine: Engine, images: Images) -> None:
    one = engine.encode(images)
    other = engine.encode(images)
    np.testing.assert_array_equal(one.features, other.features)
    np.testing.assert_array_equal(one.class_probabilities, other.class_probabilities)
    for value, again in zip(engine.start(one.features), engine.start(other.features), strict=True):
        np.testing.assert_array_equal(value, again)


def test_nothing_is_traced_any_more_under_traffic(toy: Bundle, images: Images) -> None:
    engine = TensorFlowEngine.of(toy)
    engine.warm_up()
    traced = engine.traces
    for size in (1, 2, 3, 7, 16, 17, 5):
        batch = np.resize(images, (size, *images.shape[1:]))
        encoded = engine.encode(batch)
        assert encoded.features.shape == (size, 16)
        for beam in (1, 3, 10):
            _, ids, state = engine.start(encoded.features[:16])
            first = ids[:, :beam].reshape(-1)
            _, _, state = engine.step(first, np.repeat(np.arange(len(ids), dtype=np.int32), beam), state)
            some = np.arange(0, len(first), 2, dtype=np.int32)
            log_probs, _, _ = engine.step(first[some], some, state)
            assert log_probs.shape == (len(some), MAX_BEAM_SIZE)
    assert engine.traces == traced


def test_bfloat16_says_nearly_what_float32_says(toy: Bundle, images: Images) -> None:
    exact = TensorFlowEngine.of(toy).encode(images)
    rough = TensorFlowEngine.of(toy, "bfloat16").encode(images)
    assert rough.features.dtype == np.float32
    np.testing.assert_allclose(rough.class_probabilities, exact.class_probabilities, atol=0.02)
    assert not np.array_equal(rough.features, exact.features)
    assert keras.config.dtype_policy().name == "float32"
