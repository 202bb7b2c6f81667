"""Rounding to int8 that minds the outputs, as laws."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import EncoderConfig
from model.encoder import build_encoder, fold
from model.tensors import STEPS
from training.encoder.folding import gains_by_branch
from training.shipping.rounding import round_matrix, round_weights


def nearest(matrix: np.ndarray) -> np.ndarray:
    step = np.abs(matrix).max(axis=0) / STEPS
    return np.asarray(np.round(matrix / step) * step)


def correlated(random: np.random.Generator, rows: int, inputs: int) -> np.ndarray:
    """Returns inputs that lie near a few directions, as those of a network do. Shape (rows, inputs)."""
    few = random.normal(size=(rows, max(2, inputs // 8))) @ random.normal(size=(max(2, inputs // 8), inputs))
    return np.asarray(few + 0.1 * random.normal(size=(rows, inputs)), np.float32)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([3, 40, 128, 200]), st.integers(1, 9))
def test_every_weight_is_a_whole_number_of_steps_and_the_largest_stays(seed: int, inputs: int, outputs: int) -> None:
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(inputs, outputs)).astype(np.float32)
    rounded = round_matrix(matrix, correlated(random, 300, inputs))
    step = np.abs(matrix).max(axis=0) / STEPS
    whole = rounded / step
    np.testing.assert_allclose(whole, np.round(whole), atol=1e-3)
    assert np.abs(whole).max() <= STEPS + 1e-3
    largest = np.abs(matrix).argmax(axis=0), np.arange(outputs)
    np.testing.assert_allclose(rounded[largest], matrix[largest], rtol=1e-6)


@pytest.mark.parametrize("inputs", [64, 300])
def test_outputs_change_far_less_than_by_rounding_to_the_nearest(inputs: int) -> None:
    random = np.random.default_rng(4)
    matrix = random.normal(size=(inputs, 24)).astype(np.float32)
    seen, unseen = np.split(correlated(random, 4000, inputs), 2)
    error = np.linalg.norm(unseen @ (round_matrix(matrix, seen) - matrix))
    assert error < 0.5 * np.linalg.norm(unseen @ (nearest(matrix) - matrix))


def test_a_column_of_zeros_stays_zero() -> None:
    matrix = np.zeros((10, 2), np.float32)
    matrix[:, 1] = np.linspace(-1, 1, 10)
    rounded = round_matrix(matrix, np.random.default_rng(1).normal(size=(50, 10)).astype(np.float32))
    assert not rounded[:, 0].any()
    assert np.isfinite(rounded).all()


def test_a_rounded_encoder_has_int8_weights_and_its_kept_layers_as_they_were() -> None:
    keras.utils.set_random_seed(3)
    encoder = build_encoder(
        EncoderConfig(widths=(0.06,) * 5, fc_units=24, classes=5, input_pooling=7, normalization="unit")
    )
    before = {layer.name: layer.get_weights()[0] for layer in encoder.layers if layer.weights}
    photos = np.random.default_rng(2).integers(0, 256, (6, 224, 224, 3), np.uint8)
    kernels = round_weights(encoder, photos, [encoder.get_layer("fc1")])
    assert kernels.keys() == before.keys() - {"fc1"}
    for name, kernel in kernels.items():
        np.testing.assert_array_equal(encoder.get_layer(name).get_weights()[0], kernel.kernel)
    for name, kernel in before.items():
        step = np.abs(kernel).reshape(-1, kernel.shape[-1]).max(axis=0) / STEPS
        whole = encoder.get_layer(name).get_weights()[0] / step
        if name == "fc1":
            np.testing.assert_array_equal(encoder.get_layer(name).get_weights()[0], kernel)
        else:
            np.testing.assert_allclose(whole, np.round(whole), atol=2e-3)


def test_a_convolution_with_an_identity_in_it_is_rounded_without() -> None:
    keras.utils.set_random_seed(5)
    folded = fold(build_encoder(EncoderConfig(widths=(0.06,) * 5, fc_units=8, classes=3, residual=True)))
    plain = fold(build_encoder(EncoderConfig(widths=(0.06,) * 5, fc_units=8, classes=3)))
    square = {name for name, value in folded.items() if value.ndim == 4 and value.shape[2] == value.shape[3]}
    assert len(square) == 12
    assert {name for name, value in folded.items() if gains_by_branch(value)} == square
    assert not any(map(gains_by_branch, plain.values()))
