import math

import keras
import numpy as np
import tensorflow as tf

from model.config import DecoderConfig
from model.decoder import Decoder
from training.captioner import make_train_step
from training.config import CaptionerTrainingConfig
from training.loss import full_softmax_loss, sampled_softmax_loss

TOKENS = tf.constant([[3, 4, 1, 0], [5, 1, 0, 0]], tf.int32)


def decoder(vocabulary: int = 50) -> Decoder:
    keras.utils.set_random_seed(3)
    return Decoder(DecoderConfig(vocabulary_size=vocabulary, embedding_units=8, units=16), 6)


def loss_of(network: Decoder, hidden: tf.Tensor, **options: float) -> tf.Tensor:
    return full_softmax_loss(hidden, TOKENS, network.output_layer.kernel, network.output_layer.bias, **options)


def test_the_first_loss_is_the_logarithm_of_the_vocabulary_size() -> None:
    network = decoder(2000)
    hidden = network.hidden(tf.random.normal((2, 6)), TOKENS)
    assert math.isclose(float(loss_of(network, hidden)), math.log(2000), rel_tol=0.02)


def test_padding_has_no_part_in_the_loss_and_no_gradient() -> None:
    network = decoder()
    hidden = tf.Variable(tf.random.normal((2, 4, 16)))
    with tf.GradientTape() as tape:
        loss = loss_of(network, hidden)
    gradient = tape.gradient(loss, hidden).numpy()
    padding = TOKENS.numpy() == 0
    assert np.all(gradient[padding] == 0)
    assert np.all(np.abs(gradient[~padding]).sum(axis=-1) > 0)


def test_the_loss_is_the_mean_over_words_whatever_the_padding() -> None:
    network = decoder()
    hidden = tf.random.normal((2, 4, 16))
    logits = (tf.matmul(hidden, network.output_layer.kernel) + network.output_layer.bias).numpy()
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    words = [(0, 0, 3), (0, 1, 4), (0, 2, 1), (1, 0, 5), (1, 1, 1)]
    expected = -np.mean([logs[word] for word in words])
    assert math.isclose(float(loss_of(network, hidden)), expected, rel_tol=1e-5)


def test_label_smoothing_mixes_in_the_even_distribution() -> None:
    network = decoder()
    hidden = tf.random.normal((2, 4, 16))
    plain, smoothed, even = (float(loss_of(network, hidden, label_smoothing=s)) for s in (0.0, 0.25, 0.999999))
    assert math.isclose(smoothed, 0.75 * plain + 0.25 * even, rel_tol=1e-4)


def test_the_sampled_gradient_agrees_with_the_full_one_on_average() -> None:
    network = decoder(12)
    layer = network.output_layer
    hidden = tf.Variable(tf.random.normal((2, 4, 16), seed=5))

    def gradient(sampled: bool) -> np.ndarray:
        with tf.GradientTape() as tape:
            if sampled:
                loss = sampled_softmax_loss(hidden, TOKENS, layer.kernel, layer.bias, negative_samples=10)
            else:
                loss = full_softmax_loss(hidden, TOKENS, layer.kernel, layer.bias)
        return np.asarray(tape.gradient(loss, hidden)).ravel()

    average = np.mean([gradient(sampled=True) for _ in range(200)], axis=0)
    full = gradient(sampled=False)
    assert np.dot(average, full) / np.linalg.norm(average) / np.linalg.norm(full) > 0.9


def test_a_toy_batch_is_learned_by_heart_with_either_loss() -> None:
    for loss in ("full", "sampled"):
        network = decoder()
        network.compile(optimizer=keras.optimizers.Adam(0.02))
        config = CaptionerTrainingConfig(loss=loss, negative_samples=20)  # type: ignore[arg-type]
        step = make_train_step(network, config)
        features = tf.random.normal((2, 6), seed=1)
        for _ in range(120):
            step(features, TOKENS)
        assert float(loss_of(network, network.hidden(features, TOKENS))) < 0.1
