import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.config import DecoderConfig
from model.decoder import Decoder
from training.config import OptimizerConfig
from training.loop.optimizer import Optimizer
from training.loop.replicas import Replicas
from training.loop.step import Stepper, Sums
from training.loss import full_softmax_losses, sampled_softmax_losses, word_mask

TOKENS = tf.constant([[3, 4, 1, 0], [5, 1, 0, 0]], tf.int32)


def decoder(vocabulary: int = 50) -> Decoder:
    keras.utils.set_random_seed(3)
    return Decoder(DecoderConfig(vocabulary_size=vocabulary, embedding_units=8, units=16), 6)


def full(network: Decoder, hidden: tf.Tensor, *, label_smoothing: float = 0.0) -> tf.Tensor:
    layer = network.output_layer
    return full_softmax_losses(hidden, TOKENS, layer.kernel, layer.bias, label_smoothing=label_smoothing)


def sampled(network: Decoder, hidden: tf.Tensor, seed: object, *, negative_samples: int = 10) -> tf.Tensor:
    layer = network.output_layer
    seeds = tf.stack([tf.constant(1, tf.int64), tf.cast(seed, tf.int64)])
    return sampled_softmax_losses(
        hidden, TOKENS, layer.kernel, layer.bias, negative_samples=negative_samples, seed=seeds
    )


def mean_over_words(losses: tf.Tensor) -> float:
    return float(tf.reduce_sum(losses) / tf.reduce_sum(word_mask(TOKENS)))


def some_hidden() -> tf.Tensor:
    return tf.random.stateless_normal((2, 4, 16), (5, 5))


def test_the_first_loss_is_the_logarithm_of_the_vocabulary_size() -> None:
    network = decoder(2000)
    hidden = network.hidden(tf.random.normal((2, 6)), TOKENS)
    assert math.isclose(mean_over_words(full(network, hidden)), math.log(2000), rel_tol=0.02)


@pytest.mark.parametrize("kind", ["full", "sampled"])
def test_padding_has_no_loss_and_no_gradient(kind: str) -> None:
    network = decoder()
    hidden = tf.Variable(some_hidden())
    with tf.GradientTape() as tape:
        losses = full(network, hidden) if kind == "full" else sampled(network, hidden, 7)
        total = tf.reduce_sum(losses)
    gradient = tape.gradient(total, hidden).numpy()
    padding = TOKENS.numpy() == 0
    assert losses.shape == TOKENS.shape
    assert np.all(losses.numpy()[padding] == 0)
    assert np.all(losses.numpy()[~padding] > 0)
    assert np.all(gradient[padding] == 0)
    assert np.all(np.abs(gradient[~padding]).sum(axis=-1) > 0)


def test_the_loss_of_a_word_is_its_negative_log_probability() -> None:
    network = decoder()
    hidden = some_hidden()
    logits = (tf.matmul(hidden, network.output_layer.kernel) + network.output_layer.bias).numpy()
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    words = [(0, 0, 3), (0, 1, 4), (0, 2, 1), (1, 0, 5), (1, 1, 1)]
    found = full(network, hidden).numpy()
    np.testing.assert_allclose([found[b, t] for b, t, _ in words], [-logs[word] for word in words], rtol=1e-5)


def test_label_smoothing_mixes_in_the_even_distribution() -> None:
    network = decoder()
    hidden = some_hidden()
    plain, smoothed, even = (mean_over_words(full(network, hidden, label_smoothing=s)) for s in (0.0, 0.25, 0.999999))
    assert math.isclose(smoothed, 0.75 * plain + 0.25 * even, rel_tol=1e-4)


def test_the_same_seed_draws_the_same_words_and_another_seed_others() -> None:
    network = decoder()
    hidden = some_hidden()
    drawn = [sampled(network, hidden, seed).numpy() for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_the_sampled_gradient_is_the_full_one_on_average() -> None:
    """The estimate of the logarithm is biased by the order of 1 / samples; with many, by less than its own noise."""
    network = decoder(12)
    negative_samples = 2000
    seeds = 400
    hidden = tf.Variable(some_hidden())
    layer = network.output_layer
    # Far from even, so that agreeing is not a matter of symmetry.
    layer.kernel.assign(layer.kernel * 3)
    sources = [hidden, layer.kernel.value, layer.bias.value]

    @tf.function  # type: ignore[untyped-decorator]
    def gradients(seed: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(sampled(network, hidden, seed, negative_samples=negative_samples))
        return [tf.convert_to_tensor(g) for g in tape.gradient(total, sources)]

    with tf.GradientTape() as tape:
        total = tf.reduce_sum(full(network, hidden))
    expected = [tf.convert_to_tensor(g).numpy() for g in tape.gradient(total, sources)]
    found = [[g.numpy() for g in gradients(tf.constant(seed, tf.int64))] for seed in range(seeds)]
    for index, exact in enumerate(expected):
        values = np.array([entry[index] for entry in found], np.float64)
        error = values.std(axis=0) / math.sqrt(seeds)
        bias = 3 / negative_samples * np.abs(exact).max()
        assert np.all(np.abs(values.mean(axis=0) - exact) < 4.5 * error + bias + 1e-6)
        assert np.abs(values.mean(axis=0) - exact).max() < 0.02 * np.abs(exact).max()


@pytest.mark.parametrize("kind", ["full", "sampled"])
def test_a_toy_batch_is_learned_by_heart_with_either_loss(kind: str) -> None:
    network = decoder()
    features = tf.random.stateless_normal((2, 6), (1, 1))

    def sums(batch: tuple[tf.Tensor, tf.Tensor], step: tf.Tensor) -> Sums:
        hidden = network.hidden(batch[0], batch[1], training=True)
        losses = full(network, hidden) if kind == "full" else sampled(network, hidden, step, negative_samples=20)
        return Sums(tf.reduce_sum(losses), tf.reduce_sum(word_mask(batch[1])))

    optimizer = Optimizer(network.trainable_variables, OptimizerConfig(learning_rate=0.02, weight_decay=0.0))
    spec = (tf.TensorSpec((2, 6), tf.float32), tf.TensorSpec((2, 4), tf.int32))
    stepper = Stepper(Replicas(tf.distribute.get_strategy(), 1, 1), sums, optimizer, spec)
    for number in range(120):
        stepper.step((features, TOKENS), number, 0.02)
    assert mean_over_words(full(network, network.hidden(features, TOKENS))) < 0.1
