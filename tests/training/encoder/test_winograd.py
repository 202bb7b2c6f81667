"""Winograd's convolution against the direct sum."""

import numpy as np
import pytest
import tensorflow as tf

from training.encoder.winograd import winograd_convolution


@pytest.mark.parametrize(("height", "width", "channels", "outputs"), [(4, 4, 1, 1), (8, 12, 3, 5), (28, 28, 16, 8)])
def test_it_is_the_direct_convolution_with_a_relu(height: int, width: int, channels: int, outputs: int) -> None:
    random = np.random.default_rng(height)
    kernel = random.normal(size=(3, 3, channels, outputs)).astype(np.float32)
    bias = random.normal(size=outputs).astype(np.float32)
    maps = tf.constant(random.normal(size=(3, height, width, channels)), tf.float32)
    expected = tf.nn.relu(tf.nn.conv2d(maps, kernel, 1, "SAME") + bias)
    found = winograd_convolution(kernel, bias)(maps)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
