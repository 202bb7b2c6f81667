"""Linear regression on several towers, which are replicas of the loop that trains VGG-19."""

from typing import NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.errors import DataError
from training.config import OptimizerConfig
from training.loop.divergence import advice, divergence_told, has_exploded
from training.loop.optimizer import Optimizer
from training.loop.replicas import Replicas
from training.loop.step import Stepper, Sums

SLOPE = 3.0
OFFSET = 2.0
NOISE = 0.1


class Line(NamedTuple):
    """A fitted line, and the loss of its first and its last step."""

    slope: float
    offset: float
    first_loss: float
    last_loss: float


def points(count: int, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Returns `count` places (N, 1) in [-1, 1] and their noisy heights (N, 1) on the line."""
    random = np.random.default_rng(seed)
    places = random.uniform(-1, 1, (count, 1)).astype(np.float32)
    heights = SLOPE * places + OFFSET + random.normal(0, NOISE, places.shape)
    return places, heights.astype(np.float32)


def fit(replicas: Replicas, *, steps: int, batch_size: int, learning_rate: float, seed: int) -> Line:
    """Fits a line by gradient descent, every batch shared among the towers.

    Args:
        replicas: The towers.
        steps: Steps of gradient descent.
        batch_size: Points in a step, over all towers together.
        learning_rate: Of gradient descent.
        seed: Of the points.

    Raises:
        DataError: The loss of a step is not finite or beyond all from which training comes back.
    """
    config = OptimizerConfig(
        name="sgd", learning_rate=learning_rate, schedule="constant", momentum=0.0, weight_decay=0.0, clip_norm=0.0
    )
    with replicas.strategy.scope():
        line = keras.layers.Dense(1, kernel_initializer="zeros")
        line.build((None, 1))
        optimizer = Optimizer(line.trainable_variables, config)

    def loss(batch: tuple[tf.Tensor, tf.Tensor], _step: tf.Tensor) -> Sums:
        places, heights = batch
        return Sums(tf.reduce_sum(tf.square(line(places) - heights)), tf.cast(tf.shape(places)[0], tf.float32))

    data = tf.data.Dataset.from_tensor_slices(points(steps * batch_size, seed)).batch(batch_size)
    batches = replicas.distribute(lambda share: share(data))
    stepper = Stepper(replicas, loss, optimizer, batches.element_spec)
    losses = []
    for number, batch in enumerate(batches):
        result = stepper.step(batch, number, config.rate(number, steps))
        if not result.finite or has_exploded(result.figures):
            options = advice(learning_rate, replicas.config.precision)
            raise DataError(divergence_told(number, result.figures, options))
        losses.append(result.figures["loss"])
    slope, offset = (float(np.squeeze(keras.ops.convert_to_numpy(value))) for value in line.trainable_variables)
    return Line(slope, offset, losses[0], losses[-1])
