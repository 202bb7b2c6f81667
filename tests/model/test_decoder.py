"""The decoder: what the search runs step by step is what training sees at once."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from model.bundle import weight_shapes
from model.config import CaptionerConfig, DecoderConfig, EncoderConfig, SearchConfig
from model.decoder import Decoder

BATCH = 3
TIME = 5
FEATURES = 16


def build(*, layers: int = 1, project: bool = True, size: int = 20, dropout: float = 0.0, **options: Any) -> Decoder:
    return Decoder(
        DecoderConfig(
            vocabulary_size=size,
            embedding_units=8 if project else FEATURES,
            layers=layers,
            units=12,
            project_features=project,
            dropout=dropout,
            **options,
        ),
        FEATURES,
    )


OPTIONS: list[dict[str, Any]] = [
    {},
    {"image_every_step": True},
    {"residual": True},
    {"tied_embeddings": True},
    {"image_every_step": True, "residual": True, "tied_embeddings": True},
]
"""Options of the architecture, each alone and all together."""


def array(value: Any) -> npt.NDArray[np.float32]:
    return np.asarray(keras.ops.convert_to_numpy(value))


@pytest.fixture
def features() -> npt.NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(BATCH, FEATURES)).astype(np.float32)


@pytest.fixture
def tokens() -> npt.NDArray[np.int32]:
    return np.random.default_rng(2).integers(0, 20, (BATCH, TIME), np.int32)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")
@pytest.mark.parametrize("project", [True, False], ids=["projected", "unprojected"])
@pytest.mark.parametrize("layers", [1, 3])
def test_steps_give_the_logits_of_the_teacher_forced_call(
    features: npt.NDArray[np.float32], tokens: npt.NDArray[np.int32], layers: int, project: bool, options: Any
) -> None:
    decoder = build(layers=layers, project=project, **options)
    for variable in decoder.trainable_variables:
        variable.assign(np.random.default_rng(len(variable.path)).normal(0, 0.5, variable.shape))
    logits, state = decoder.start(features)
    steps = [logits]
    for position in range(TIME - 1):
        image = (8 if project else FEATURES) if decoder.config.image_every_step else 0
        assert state.shape == (BATCH, layers * 12 + image)
        logits, state = decoder.step(tokens[:, position], state)
        steps.append(logits)
    at_once = array(decoder(features, tokens))
    assert at_once.shape == (BATCH, TIME, 20)
    assert np.abs(at_once).max() > 0.1
    np.testing.assert_allclose(np.stack([array(s) for s in steps], axis=1), at_once, rtol=1e-4, atol=1e-5)


def test_a_position_sees_the_words_before_it_and_no_later_one(
    features: npt.NDArray[np.float32], tokens: npt.NDArray[np.int32]
) -> None:
    decoder = build(layers=2)
    logits = array(decoder(features, tokens))
    for position in range(TIME):
        changed = tokens.copy()
        changed[:, position] = (changed[:, position] + 1) % 20
        after = array(decoder(features, changed))
        np.testing.assert_allclose(after[:, : position + 1], logits[:, : position + 1], rtol=1e-5, atol=1e-6)
        assert position == TIME - 1 or np.abs(after[:, position + 1 :] - logits[:, position + 1 :]).max() > 1e-4


def test_every_position_sees_the_image(features: npt.NDArray[np.float32], tokens: npt.NDArray[np.int32]) -> None:
    decoder = build()
    difference = array(decoder(features, tokens)) - array(decoder(-features, tokens))
    assert (np.abs(difference).max(axis=(0, 2)) > 1e-5).all()


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")
def test_the_hypotheses_of_a_step_do_not_mix(features: npt.NDArray[np.float32], options: Any) -> None:
    decoder = build(layers=2, **options)
    _, state = decoder.start(features)
    words = np.array([4, 5, 6], np.int32)
    logits, after = decoder.step(words, state)
    order = np.array([2, 0, 0, 1])
    logits_of_gathered, after_of_gathered = decoder.step(words[order], array(state)[order])
    np.testing.assert_allclose(array(logits_of_gathered), array(logits)[order], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(array(after_of_gathered), array(after)[order], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layers", [1, 3])
def test_the_first_loss_is_the_logarithm_of_the_vocabulary_size(layers: int) -> None:
    size = 1000
    rng = np.random.default_rng(3)
    decoder = build(layers=layers, size=size)
    tokens = rng.integers(0, size, (32, TIME), np.int32)
    logits = decoder(rng.uniform(0, 1, (32, FEATURES)).astype(np.float32), tokens)
    losses = array(keras.losses.sparse_categorical_crossentropy(tokens, logits, from_logits=True))
    assert losses.mean() == pytest.approx(np.log(size), rel=0.01)


def test_an_unprojected_feature_is_the_first_input_itself() -> None:
    decoder = build(project=False)
    assert not any("projection" in variable.path for variable in decoder.trainable_variables)
    word = np.array([7], np.int32)
    embedding = array(decoder.embedding(word))
    zeros = np.zeros((1, 12), np.float32)
    as_feature = decoder.start(embedding)
    as_word = decoder.step(word, zeros)
    np.testing.assert_allclose(array(as_feature[0]), array(as_word[0]), rtol=1e-6)
    np.testing.assert_allclose(array(as_feature[1]), array(as_word[1]), rtol=1e-6)


def test_dropout_acts_while_training_alone(features: npt.NDArray[np.float32], tokens: npt.NDArray[np.int32]) -> None:
    decoder = build(dropout=0.5)
    served = array(decoder(features, tokens))
    np.testing.assert_array_equal(served, array(decoder(features, tokens, training=False)))
    assert np.abs(served - array(decoder(features, tokens, training=True))).max() > 1e-3


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")
def test_the_variables_have_the_names_and_shapes_that_a_bundle_expects(options: Any) -> None:
    decoder = build(layers=2, **options)
    expected = {
        name.removeprefix("decoder/"): shape
        for name, shape in weight_shapes(
            CaptionerConfig(
                name="toy",
                version="1",
                encoder=EncoderConfig(fc_units=FEATURES),
                decoder=decoder.config,
                search=SearchConfig(),
            )
        ).items()
        if name.startswith("decoder/")
    }
    found = {
        variable.path.removeprefix("decoder/").replace("gru_cell/", ""): tuple(variable.shape)
        for variable in decoder.trainable_variables
    }
    assert found == expected


def test_an_image_that_stays_is_seen_beside_every_word(
    features: npt.NDArray[np.float32], tokens: npt.NDArray[np.int32]
) -> None:
    decoder = build(image_every_step=True)
    decoder.stack[0].cell.recurrent_kernel.assign(np.zeros((12, 36)))
    decoder.stack[0].cell.bias.assign(np.stack([np.r_[np.full(12, -50.0), np.zeros(24)], np.zeros(36)]))
    difference = array(decoder(features, tokens)) - array(decoder(-features, tokens))
    assert (np.abs(difference).max(axis=2) > 1e-4).all()


def test_a_dropped_word_is_dropped_as_a_whole_and_while_training_alone(
    features: npt.NDArray[np.float32], tokens: npt.NDArray[np.int32]
) -> None:
    decoder = build(word_dropout=0.5)
    served = array(decoder(features, tokens))
    np.testing.assert_array_equal(served, array(decoder(features, tokens)))
    assert np.abs(served - array(decoder(features, tokens, training=True))).max() > 1e-4
    words = array(decoder.word_dropout(decoder.embedding(np.tile(tokens, (9, 1))), training=True))
    kept = np.abs(words).max(axis=-1) > 0
    assert 0.25 < kept.mean() < 0.75
    np.testing.assert_allclose(words[kept], 2 * array(decoder.embedding(np.tile(tokens, (9, 1))))[kept], rtol=1e-5)
