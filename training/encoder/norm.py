"""Batch norm in one operation of TensorFlow, for encoders that are trained."""

from typing import Any

import keras
import tensorflow as tf

from model.config import EncoderConfig
from model.encoder import build_encoder


class FusedBatchNorm(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Keras's batch norm, which normalises maps by one operation where Keras takes a dozen.

    Statistics over several replicas, of vectors (B, C), and inference are Keras's own. Weights are those of Keras, and
    so are the results, up to rounding.

    Source:
        Ioffe & Szegedy 2015, algorithm 1 (arXiv:1502.03167). TensorFlow tells the variance with Bessel's correction,
        Keras keeps the one without; so is it kept here.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalises maps, and while training moves the averages of their statistics.

        Args:
            inputs: Shape (B, H, W, C) or (B, C), any float.
            training: Whether the batch's own statistics are taken.
            mask: Which entries count; see Keras.

        Returns:
            The shape of `inputs`, in the layer's compute dtype.
        """
        if not training or not self.trainable or self.synchronized or mask is not None or len(inputs.shape) != 4:
            return super().call(inputs, training=training, mask=mask)
        values = tf.cast(inputs, tf.float32)
        normed, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=values, scale=self.gamma.value, offset=self.beta.value, mean=[], variance=[], epsilon=self.epsilon
        )
        count = tf.cast(tf.size(values) / values.shape[-1], tf.float32)
        for average, found in ((self.moving_mean, mean), (self.moving_variance, variance * (count - 1) / count)):
            average.assign(average * self.momentum + found * (1.0 - self.momentum))
        return tf.cast(normed, self.compute_dtype)


def trainable_encoder(config: EncoderConfig, *, synchronized: bool = False) -> keras.Model:
    """Builds an encoder that is to be trained; see `build_encoder`."""
    return build_encoder(config, synchronized=synchronized, norm=FusedBatchNorm)
