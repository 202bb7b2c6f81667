"""Losses of caption training: cross-entropy of every real word, by the full or a sampled softmax."""

import math

import tensorflow as tf

from model.vocabulary import PAD_ID


def perplexity_of(nats: float) -> float:
    """Returns exp(nats); infinity where that is no float."""
    return math.exp(nats) if nats < 700 else math.inf


def word_mask(tokens: tf.Tensor) -> tf.Tensor:
    """Returns 1 for words and end ids and 0 for padding, float32, the shape of `tokens` (B, T)."""
    return tf.cast(tokens != PAD_ID, tf.float32)


def smoothed_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    """Measures the cross-entropy of true labels.

    Args:
        logits: Scores of V classes. Shape (..., V), float32.
        labels: True classes. Shape (...), int32.
        label_smoothing: Share of the target that is spread evenly over all classes, in [0, 1).

    Returns:
        Nats. Shape (...), float32.

    Source:
        Szegedy et al. 2015, section 7 (arXiv:1512.00567).
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    if label_smoothing > 0:
        even = tf.reduce_logsumexp(logits, axis=-1) - tf.reduce_mean(logits, axis=-1)
        losses = (1 - label_smoothing) * losses + label_smoothing * even
    return losses


def full_softmax_losses(
    hidden: tf.Tensor, tokens: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, *, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Measures the cross-entropy of every true word.

    Args:
        hidden: Decoder output; position t predicts token t. Shape (B, T, U).
        tokens: True words, padded with 0. Shape (B, T), int32.
        kernel: Output weights. Shape (U, V).
        bias: Output bias. Shape (V,).
        label_smoothing: Share of the target that is spread evenly over all words, in [0, 1).

    Returns:
        Nats, 0 for padding. Shape (B, T), float32.
    """
    # One product of two matrices: TensorFlow's product of (B, T, U) with (U, V) has a gradient for each caption, and
    # takes five times as long.
    rows = tf.reshape(tf.cast(hidden, tf.float32), (-1, hidden.shape[-1]))  # (B * T, U)
    losses = smoothed_cross_entropy(tf.matmul(rows, kernel) + bias, tf.reshape(tokens, (-1,)), label_smoothing)
    return tf.reshape(losses, tf.shape(tokens)) * word_mask(tokens)


def sampled_softmax_losses(
    hidden: tf.Tensor, tokens: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, *, negative_samples: int, seed: tf.Tensor
) -> tf.Tensor:
    """Estimates the cross-entropy of every true word against words drawn from a log-uniform distribution of ranks.

    Args:
        hidden: Decoder output; position t predicts token t. Shape (B, T, U).
        tokens: True words, ids by falling frequency, padded with 0. Shape (B, T), int32.
        kernel: Output weights. Shape (U, V).
        bias: Output bias. Shape (V,).
        negative_samples: Words drawn, shared by the whole batch.
        seed: Decides which words are drawn: equal seeds draw equal words, in any process. Shape (2,), int64.

    Returns:
        Nats, 0 for padding. Shape (B, T), float32.

    Source:
        Jean et al. 2015 (arXiv:1412.2007), by `tf.nn.sampled_softmax_loss`, its logits corrected by expected counts.
        Deviation: drawn with replacement from a stateless generator, so that a resumed run draws the same words,
        and so do all replicas.
    """
    size = kernel.shape[-1]
    scale = math.log(size + 1)
    uniform = tf.random.stateless_uniform((negative_samples,), seed, dtype=tf.float64)
    drawn = tf.minimum(tf.cast(tf.exp(uniform * scale) - 1, tf.int64), size - 1)
    labels = tf.cast(tf.reshape(tokens, (-1, 1)), tf.int64)

    def expected(ids: tf.Tensor) -> tf.Tensor:
        rank = tf.cast(ids, tf.float32)
        return negative_samples * tf.math.log1p(1 / (rank + 1)) / scale

    losses = tf.nn.sampled_softmax_loss(
        weights=tf.transpose(kernel),
        biases=bias,
        labels=labels,
        inputs=tf.reshape(tf.cast(hidden, tf.float32), (-1, hidden.shape[-1])),
        num_sampled=negative_samples,
        num_classes=size,
        sampled_values=(drawn, expected(labels), expected(drawn)),
    )
    return tf.reshape(losses, tf.shape(tokens)) * word_mask(tokens)
