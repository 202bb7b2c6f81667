"""Batch norm in one operation is Keras's batch norm."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.config import EncoderConfig
from model.encoder import build_encoder
from training.encoder.norm import FusedBatchNorm, trainable_encoder

MAPS = (4, 5, 3, 6)
CONFIG = EncoderConfig(
    widths=(0.02,) * 5, fc_units=16, classes=5, input_pooling=7, dropout=0.0, normalization="unit", batch_norm=True,
    residual=True, pooling="average",
)  # fmt: skip


def layers(shape: tuple[int, ...], **options: Any) -> list[keras.layers.BatchNormalization]:
    """Makes Keras's layer and ours, with equal weights that are not those of the start."""
    made = [kind(momentum=0.8, epsilon=1e-3, **options) for kind in (keras.layers.BatchNormalization, FusedBatchNorm)]
    random = np.random.default_rng(4)
    weights = [random.uniform(0.5, 2, shape[-1]).astype(np.float32) for _ in range(4)]
    for layer in made:
        layer.build(shape)
        layer.set_weights(weights)
    return made


def passed(layer: keras.layers.Layer, shape: tuple[int, ...], *, training: bool) -> dict[str, Any]:
    """Returns the outputs of a layer, the gradients of a function of them, and the weights afterwards."""
    random = np.random.default_rng(5)
    inputs = tf.constant(random.normal(3, 2, shape), tf.float32)
    factors = tf.constant(random.normal(size=shape), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=training)
        target = tf.reduce_sum(tf.cast(outputs, tf.float32) * factors)
    gradients = tape.gradient(target, [inputs, layer.gamma.value, layer.beta.value])
    return {"outputs": outputs, "gradients": [value.numpy() for value in gradients], "weights": layer.get_weights()}


def assert_near(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    np.testing.assert_allclose(found["outputs"], expected["outputs"], rtol=tolerance, atol=tolerance)
    for part in ("gradients", "weights"):
        for one, other in zip(found[part], expected[part], strict=True):
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * np.abs(other).max())


@pytest.mark.parametrize("shape", [MAPS, (2, 7, 1, 6), (7, 6)])
@pytest.mark.parametrize("training", [True, False])
def test_outputs_gradients_and_averages_are_those_of_keras(shape: tuple[int, ...], *, training: bool) -> None:
    keras_s, ours = layers(shape)
    assert_near(passed(ours, shape, training=training), passed(keras_s, shape, training=training), 2e-5)


def test_the_average_of_the_variance_has_no_correction() -> None:
    ours = layers((1, 1, 2, 6))[1]
    before = ours.moving_variance.numpy()
    pair = np.zeros((1, 1, 2, 6), np.float32)
    pair[0, 0, 1] = 2  # variance 1, or 2 with Bessel's correction
    ours(pair, training=True)
    np.testing.assert_allclose(ours.moving_variance.numpy(), 0.8 * before + 0.2, rtol=1e-6)


def test_a_frozen_layer_takes_its_averages_and_keeps_them() -> None:
    keras_s, ours = layers(MAPS)
    for layer in (keras_s, ours):
        layer.trainable = False
    before = ours.get_weights()
    found = passed(ours, MAPS, training=True)
    assert_near(found, passed(keras_s, MAPS, training=True), 2e-5)
    for one, other in zip(found["weights"], before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_half_precision_is_normed_in_float32() -> None:
    keras_s, ours = layers(MAPS, dtype="mixed_float16")
    found, expected = (passed(layer, MAPS, training=True) for layer in (ours, keras_s))
    assert found["outputs"].dtype == expected["outputs"].dtype == tf.float16
    assert_near(found, expected, 2e-3)


def test_an_encoder_to_train_has_the_weights_and_outputs_of_any_other() -> None:
    keras.utils.set_random_seed(6)
    plain = build_encoder(CONFIG)
    ours = trainable_encoder(CONFIG)
    assert [variable.path for variable in ours.variables] == [variable.path for variable in plain.variables]
    assert sum(isinstance(layer, FusedBatchNorm) for layer in ours.layers) == 18
    ours.set_weights(plain.get_weights())
    images = np.random.default_rng(7).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    for training in (True, False):
        found, expected = (encoder(images, training=training)["logits"] for encoder in (ours, plain))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    for one, other in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
