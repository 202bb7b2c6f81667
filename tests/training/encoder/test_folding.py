"""Unfolding: a plain network's outputs from one with batch norm and identity branches, at rest and while it learns."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from model.config import EncoderConfig
from model.encoder import build_encoder, fold
from training.encoder.folding import unfold

PLAIN = EncoderConfig(
    widths=(0.03, 0.03, 0.03, 0.03, 0.05), fc_units=12, classes=5, normalization="unit", input_pooling=7,
    pooling="average", dropout=0.0,
)  # fmt: skip
IMAGES = np.random.default_rng(3).integers(0, 256, (40, 224, 224, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def plain() -> keras.Model:
    """Returns a plain network whose biases are not zero."""
    keras.utils.set_random_seed(5)
    network = build_encoder(PLAIN)
    for variable in network.trainable_variables:
        variable.assign(variable + 0.05 * keras.random.normal(variable.shape, seed=len(variable.path)))
    return network


@pytest.mark.parametrize(("batch_norm", "residual"), [(True, True), (True, False), (False, True), (False, False)])
def test_an_unfolded_network_says_what_the_plain_one_says(plain: keras.Model, batch_norm: bool, residual: bool) -> None:
    network = build_encoder(replace(PLAIN, batch_norm=batch_norm, residual=residual))
    unfold(network, fold(plain), IMAGES)
    for images in (IMAGES, 255 - IMAGES[:5] // 2):
        ours = network.predict_on_batch(images)
        theirs = plain.predict_on_batch(images)
        for name, expected in theirs.items():
            np.testing.assert_allclose(ours[name], expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())


def test_while_it_learns_it_says_the_same_of_the_photos_whose_statistics_it_has(plain: keras.Model) -> None:
    network = build_encoder(replace(PLAIN, batch_norm=True, residual=True))
    unfold(network, fold(plain), IMAGES)
    ours = network(IMAGES, training=True)
    theirs = plain(IMAGES)
    for name in ("features", "logits"):
        expected = np.asarray(theirs[name])
        np.testing.assert_allclose(np.asarray(ours[name]), expected, rtol=2e-2, atol=2e-3 * np.abs(expected).max())


def test_every_filter_has_the_norm_of_a_fresh_one(plain: keras.Model) -> None:
    network = build_encoder(replace(PLAIN, batch_norm=True, residual=True))
    unfold(network, fold(plain), IMAGES)
    kernel = np.asarray(network.get_layer("block3_conv2").kernel)
    np.testing.assert_allclose(np.sqrt(np.square(kernel).sum(axis=(0, 1, 2))), np.sqrt(2), rtol=1e-4)
