"""Losses in float16 are scaled, so that small gradients are kept and an overflow is no step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.loop.steps import PLAIN, RATE, Build, Loss, regression, squared_errors, take
from tests.training.stages import replicas_of
from training.loop.optimizer import Optimizer
from training.loop.step import LossScale, Stepper, Sums


def half_precision(size: float) -> Build:
    """Builds a loss in float16 whose gradient is `size` for a variable of one number that starts at 1."""

    def build(_count: int) -> tuple[list[keras.Variable], Loss]:
        weight = keras.Variable(np.ones((1, 1), np.float32))

        def loss(batch: tuple[tf.Tensor], _step: tf.Tensor) -> Sums:
            (inputs,) = batch
            products = tf.matmul(tf.cast(inputs * size, tf.float16), tf.cast(weight.value, tf.float16))
            return Sums(tf.reduce_sum(tf.cast(products, tf.float32)), tf.cast(tf.size(inputs), tf.float32))

        return [weight], loss

    return build


ONES = (np.ones((2, 1), np.float32),)


@pytest.mark.parametrize("count", [1, 2])
def test_an_overflow_of_float16_halves_the_scale_and_is_no_step(count: int) -> None:
    first = take(replicas_of(count, precision="float16"), half_precision(2.0), ONES)  # 2**15 * 2 > 65504
    assert first.result.finite
    assert (first.stepper.loss_scale.value, first.stepper.loss_scale.good_steps) == (2.0**14, 0)
    assert first.values[0] == 1
    later = take(replicas_of(count, precision="float16"), half_precision(2.0), ONES, steps=3)
    assert later.stepper.loss_scale.value in (2.0**14, 2.0**13)  # the replica of two records sums them first
    assert later.stepper.loss_scale.good_steps > 0
    assert later.values[0] == pytest.approx(1 - RATE * 2 * later.stepper.loss_scale.good_steps, rel=1e-6)
    assert later.result.gradients[0].numpy() == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("scale", "steps", "found"),
    [(2.0**15, 1, (2.0**15, 1999)), (2.0**15, 2, (2.0**16, 0)), (2.0**15, 3, (2.0**16, 1)), (2.0**24, 2, (2.0**24, 0))],
)
def test_the_scale_grows_after_many_good_steps_up_to_its_limit(
    scale: float, steps: int, found: tuple[float, int]
) -> None:
    saved = {"scale": scale, "good_steps": LossScale.GROWTH_STEPS - 2}
    replicas = replicas_of(1, precision="float16")
    grown = take(replicas, squared_errors, regression(), steps=steps, loss_scale=saved).stepper.loss_scale
    assert (grown.value, grown.good_steps) == found


def test_a_gradient_too_small_for_float16_is_kept_by_the_scale() -> None:
    size = 2.0**-26  # float16's least number is 2**-24
    scaled = take(replicas_of(1, precision="float16"), half_precision(size * 2**10), ONES).result
    assert scaled.gradients[0].numpy() == pytest.approx(size * 2**10, rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 2.0**5, 2.0**12])
def test_gradients_do_not_depend_on_the_scale(scale: float) -> None:
    replicas = replicas_of(2, precision="float16")
    (inputs, targets) = regression()
    with replicas.strategy.scope():
        variables, loss = squared_errors(2)
        optimizer = Optimizer(variables, PLAIN)
    batches = replicas.distribute(lambda share: share(tf.data.Dataset.from_tensors((inputs, targets))))
    stepper = Stepper(replicas, loss, optimizer, batches.element_spec)
    stepper.loss_scale.value = scale
    found = stepper.step(next(iter(batches)), 0, RATE, gradients=True)
    expected = take(replicas_of(1), squared_errors, (inputs, targets)).result
    np.testing.assert_allclose(found.gradients[0].numpy(), expected.gradients[0].numpy(), rtol=1e-5)
    assert found.figures == pytest.approx(expected.figures, rel=1e-5)
