"""Steps taken on a few records, and what they are compared with."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from training.config import OptimizerConfig
from training.loop.optimizer import Optimizer
from training.loop.replicas import Replicas
from training.loop.step import Stepper, StepResult, Sums

Array = npt.NDArray[Any]
Loss = Callable[[Any, tf.Tensor], Sums]
Build = Callable[[int], tuple[list[keras.Variable], Loss]]
"""Makes the variables for a number of replicas, in the scope of their strategy, and the loss on them."""

PLAIN = OptimizerConfig(
    name="sgd", learning_rate=0.1, schedule="constant", momentum=0.0, weight_decay=0.0, clip_norm=0.0
)
RATE = 0.1


class Taken(NamedTuple):
    """A step that was taken: its result, the variables after it, and who took it."""

    result: StepResult
    values: list[Array]
    optimizer: Optimizer
    stepper: Stepper


def take(
    replicas: Replicas, build: Build, batch: Sequence[Array], config: OptimizerConfig = PLAIN, *, steps: int = 1,
    loss_scale: dict[str, float] | None = None,
) -> Taken:  # fmt: skip
    """Takes steps on one batch, the same each time."""
    keras.utils.set_random_seed(3)
    with replicas.strategy.scope():
        variables, loss = build(replicas.count)
        optimizer = Optimizer(variables, config)
    dataset = tf.data.Dataset.from_tensor_slices(tuple(batch)).batch(len(batch[0])).repeat(steps)
    batches = replicas.distribute(lambda share: share(dataset))
    stepper = Stepper(replicas, loss, optimizer, batches.element_spec, loss_scale)
    for number, part in enumerate(batches):
        result = stepper.step(part, number, RATE, gradients=True)
    return Taken(result, values_of(variables), optimizer, stepper)


def values_of(variables: Sequence[keras.Variable]) -> list[Array]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assert_same(found: Taken, expected: Taken, tolerance: float = 1e-5) -> None:
    """Compares gradients, each within a share of its largest number, and figures."""
    assert len(found.result.gradients) == len(expected.result.gradients) > 0
    for one, other in zip(found.result.gradients, expected.result.gradients, strict=True):
        largest = np.abs(other.numpy()).max()
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=tolerance, atol=tolerance * largest)
    assert found.result.figures == pytest.approx(expected.result.figures, rel=tolerance)
    assert found.result.finite


def regression(size: int = 8) -> tuple[Array, Array]:
    random = np.random.default_rng(size)
    return random.normal(size=(size, 3)).astype(np.float32), random.normal(size=(size, 1)).astype(np.float32)


def squared_errors(_count: int) -> tuple[list[keras.Variable], Loss]:
    weights = keras.Variable(np.array([[0.5], [-1.0], [2.0]], np.float32), name="weights")

    def loss(batch: tuple[tf.Tensor, tf.Tensor], _step: tf.Tensor) -> Sums:
        inputs, targets = batch
        errors = tf.matmul(inputs, weights.value) - targets
        return Sums(tf.reduce_sum(errors**2), tf.cast(tf.shape(inputs)[0], tf.float32))

    return [weights], loss
