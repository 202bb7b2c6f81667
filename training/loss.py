"""Losses of caption training: cross-entropy over real words, by the full or a sampled softmax."""

import tensorflow as tf

from model.vocabulary import PAD_ID


def word_mask(tokens: tf.Tensor) -> tf.Tensor:
    """Returns 1 for words and end ids and 0 for padding, float32, the shape of `tokens` (B, T)."""
    return tf.cast(tokens != PAD_ID, tf.float32)


def full_softmax_loss(
    hidden: tf.Tensor, tokens: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, *, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Measures the mean cross-entropy of the true words.

    Args:
        hidden: Decoder output; position t predicts token t. Shape (B, T, U).
        tokens: True words, padded with 0. Shape (B, T), int32.
        kernel: Output weights. Shape (U, V).
        bias: Output bias. Shape (V,).
        label_smoothing: Share of the target that is spread evenly over all words, in [0, 1).

    Returns:
        Nats per real word; padding has no part in it. Scalar, float32.
    """
    logits = tf.matmul(tf.cast(hidden, tf.float32), kernel) + bias  # (B, T, V)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tokens, logits=logits)  # (B, T)
    if label_smoothing > 0:
        even = tf.reduce_logsumexp(logits, axis=-1) - tf.reduce_mean(logits, axis=-1)
        losses = (1 - label_smoothing) * losses + label_smoothing * even
    return _mean_over_words(losses, tokens)


def sampled_softmax_loss(
    hidden: tf.Tensor, tokens: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, *, negative_samples: int
) -> tf.Tensor:
    """Estimates the cross-entropy of the true words against a few words drawn by a log-uniform law of their rank.

    Args:
        hidden: Decoder output; position t predicts token t. Shape (B, T, U).
        tokens: True words, ids by falling frequency, padded with 0. Shape (B, T), int32.
        kernel: Output weights. Shape (U, V).
        bias: Output bias. Shape (V,).
        negative_samples: Words drawn, shared by the whole batch.

    Returns:
        Nats per real word; padding has no part in it. Scalar, float32.

    Source:
        Jean et al. 2015 (arXiv:1412.2007), by `tf.nn.sampled_softmax_loss`, its logits corrected by expected counts.
    """
    losses = tf.nn.sampled_softmax_loss(
        weights=tf.transpose(kernel),
        biases=bias,
        labels=tf.reshape(tokens, (-1, 1)),
        inputs=tf.reshape(tf.cast(hidden, tf.float32), (-1, hidden.shape[-1])),
        num_sampled=min(negative_samples, kernel.shape[-1]),
        num_classes=kernel.shape[-1],
    )
    return _mean_over_words(tf.reshape(losses, tf.shape(tokens)), tokens)


def _mean_over_words(losses: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    mask = word_mask(tokens)
    return tf.math.divide_no_nan(tf.reduce_sum(losses * mask), tf.reduce_sum(mask))
