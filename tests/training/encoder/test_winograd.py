"""Winograd's convolution against the direct sum."""

import numpy as np
import pytest
import tensorflow as tf

from training.encoder.winograd import winograd_convolution


@pytest.mark.parametrize(
    ("height", "width", "channels", "outputs"), [(4, 4, 1, 1), (8, 12, 3, 5), (28, 28, 16, 8), (7, 5, 3, 4)]
)
def test_it_is_the_direct_convolution_with_a_relu(height: int, width: int, channels: int, outputs: int) -> None:
    random = np.random.default_rng(height)
    kernel = random.normal(size=(3, 3, channels, outputs)).astype(np.float32)
    bias = random.normal(size=outputs).astype(np.float32)
    maps = tf.constant(random.normal(size=(3, height, width, channels)), tf.float32)
    expected = tf.nn.relu(tf.nn.conv2d(maps, kernel, 1, "SAME") + bias)
    found = winograd_convolution(maps, kernel, bias)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_its_gradients_are_those_of_the_direct_convolution() -> None:
    random = np.random.default_rng(1)
    maps, kernel, bias = (
        tf.constant(random.normal(size=shape), tf.float32) for shape in ((2, 7, 6, 3), (3, 3, 3, 4), (4,))
    )
    weights = tf.constant(random.normal(size=(2, 7, 6, 4)), tf.float32)

    def direct(maps: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(tf.nn.conv2d(maps, kernel, 1, "SAME") + bias)

    found = []
    for convolution in (winograd_convolution, direct):
        with tf.GradientTape() as tape:
            tape.watch([maps, kernel, bias])
            loss = tf.reduce_sum(weights * convolution(maps, kernel, bias))
        found.append(tape.gradient(loss, [maps, kernel, bias]))
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
