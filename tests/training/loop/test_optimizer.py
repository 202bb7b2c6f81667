"""The update rules against Keras's, and the schedules at their edges."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from model.errors import ConfigError
from training.config import OptimizerConfig
from training.loop.optimizer import Optimizer

SHAPES = {"kernel": (4, 3), "bias": (3,), "embedding": (5, 2)}
RATES = (0.1, 0.05, 0.2, 0.01, 0.1)
"""Learning rate of each step."""


def fresh() -> list[keras.Variable]:
    random = np.random.default_rng(1)
    return [keras.Variable(random.normal(size=shape).astype(np.float32), name=name) for name, shape in SHAPES.items()]


def gradients(step: int) -> list[tf.Tensor]:
    random = np.random.default_rng(10 + step)
    return [tf.constant(random.normal(size=shape), tf.float32) for shape in SHAPES.values()]


def after(
    config: OptimizerConfig, multipliers: dict[str, float] | None = None, rates: Sequence[float] = RATES
) -> list[npt.NDArray[np.float32]]:
    variables = fresh()
    optimizer = Optimizer(variables, config, multipliers)
    for step, rate in enumerate(rates):
        optimizer.apply(gradients(step), tf.constant(rate), tf.constant(step, tf.int64))
    return [variable.numpy() for variable in variables]


def after_keras(
    optimizer: keras.optimizers.Optimizer, decay: float = 0.0, rates: Sequence[float] = RATES
) -> list[npt.NDArray[np.float32]]:
    """Takes the steps with Keras, its decay off; `decay` is added to the gradients of what is not a bias."""
    variables = fresh()
    for step, rate in enumerate(rates):
        optimizer.learning_rate = rate
        decayed = [
            gradient + (decay * variable.value if len(variable.shape) > 1 else 0)
            for gradient, variable in zip(gradients(step), variables, strict=True)
        ]
        optimizer.apply(decayed, variables)
    return [variable.numpy() for variable in variables]


def assert_equal(found: list[Any], expected: list[Any], tolerance: float = 2e-6) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_gradient_descent_is_that_of_keras(decay: float) -> None:
    found = after(OptimizerConfig(name="sgd", momentum=0.0, weight_decay=decay))
    assert_equal(found, after_keras(keras.optimizers.SGD(), decay))


def test_momentum_is_that_of_keras_at_a_constant_rate() -> None:
    # Keras scales a gradient by the rate before it enters the velocity, here the velocity is scaled: equal at one rate.
    found = after(OptimizerConfig(name="sgd", momentum=0.9, weight_decay=0.1), rates=[0.1] * 5)
    assert_equal(found, after_keras(keras.optimizers.SGD(momentum=0.9), 0.1, rates=[0.1] * 5))


def test_adam_with_decay_is_adamw_of_keras() -> None:
    # Keras decays all that it is not told to leave out. Its epsilon stands beside the root that is not corrected yet,
    # ours beside the corrected one as in the paper: in the first steps Keras's weighs up to 30 times as much.
    optimizer = keras.optimizers.AdamW(weight_decay=0.1, beta_1=0.9, beta_2=0.999, epsilon=1e-7)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    found = after(OptimizerConfig(name="adam", weight_decay=0.1))
    assert_equal(found, after_keras(optimizer), 2e-5)


def test_adam_is_algorithm_1_of_its_paper() -> None:
    """With tiny gradients, so that the place of epsilon is seen."""
    size = 1e-6
    variables = fresh()
    expected = [variable.numpy().astype(float) for variable in variables]
    first, second = ([np.zeros(shape) for shape in SHAPES.values()] for _ in range(2))
    optimizer = Optimizer(variables, OptimizerConfig(name="adam", weight_decay=0.0))
    for step, rate in enumerate(RATES):
        found = [size * gradient for gradient in gradients(step)]
        optimizer.apply(found, tf.constant(rate), tf.constant(step, tf.int64))
        for index, gradient in enumerate(np.asarray(value, float) for value in found):
            first[index] = 0.9 * first[index] + 0.1 * gradient
            second[index] = 0.999 * second[index] + 0.001 * gradient**2
            mean = first[index] / (1 - 0.9 ** (step + 1))
            square = second[index] / (1 - 0.999 ** (step + 1))
            expected[index] -= rate * mean / (np.sqrt(square) + 1e-7)
    assert_equal([variable.numpy() for variable in variables], expected, 2e-5)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_biases_are_not_decayed(name: Any) -> None:
    plain, decayed = (after(OptimizerConfig(name=name, weight_decay=decay)) for decay in (0.0, 0.1))
    np.testing.assert_array_equal(plain[1], decayed[1])
    for index in (0, 2):
        assert np.abs(plain[index] - decayed[index]).min() > 0


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_multipliers_scale_the_rate(name: Any) -> None:
    config = OptimizerConfig(name=name, weight_decay=0.0)
    start = [variable.numpy() for variable in fresh()]
    plain = after(config)
    scaled = after(config, {"kernel": 0.5, "embedding": 0.0})
    np.testing.assert_allclose(scaled[0] - start[0], (plain[0] - start[0]) / 2, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(scaled[1], plain[1])
    np.testing.assert_array_equal(scaled[2], start[2])


def test_slots_are_what_the_algorithm_keeps() -> None:
    kept = {
        "adam": Optimizer(fresh(), OptimizerConfig(name="adam")),
        "momentum": Optimizer(fresh(), OptimizerConfig(name="sgd", momentum=0.9)),
        "plain": Optimizer(fresh(), OptimizerConfig(name="sgd", momentum=0.0)),
    }
    assert {name: len(optimizer.slots) for name, optimizer in kept.items()} == {"adam": 6, "momentum": 3, "plain": 0}
    assert [tuple(slot.shape) for slot in kept["momentum"].slots.values()] == list(SHAPES.values())


def test_the_average_follows_the_variables_and_takes_their_place_for_a_while() -> None:
    config = OptimizerConfig(learning_rate=0.1, average=0.9, weight_decay=0.0)
    variables = fresh()
    optimizer = Optimizer(variables, config)
    expected = [np.zeros(shape) for shape in SHAPES.values()]
    for step, rate in enumerate(RATES):
        optimizer.apply(gradients(step), tf.constant(rate), tf.constant(step, tf.int64))
        decay = min(0.9, step / (step + 10))
        expected = [decay * old + (1 - decay) * new.numpy() for old, new in zip(expected, variables, strict=True)]
    trained = [variable.numpy() for variable in variables]
    with optimizer.averaged():
        assert_equal([variable.numpy() for variable in variables], expected)
    assert_equal([variable.numpy() for variable in variables], trained, 0.0)
    assert_equal(after(replace(config, average=0.0)), trained, 0.0)


def test_without_an_average_nothing_takes_the_variables_place() -> None:
    variables = fresh()
    before = [variable.numpy() for variable in variables]
    with Optimizer(variables, OptimizerConfig()).averaged():
        assert_equal([variable.numpy() for variable in variables], before, 0.0)


def test_the_staircase_falls_at_the_edges_of_its_stairs() -> None:
    config = OptimizerConfig(learning_rate=0.05, schedule="exponential", decay_steps=100_000, decay_rate=0.998)
    steps = (0, 99_999, 100_000, 199_999, 200_000, 1_000_000)
    expected = (0.05, 0.05, 0.0499, 0.0499, 0.0498002, 0.05 * 0.998**10)
    assert [config.rate(step, 10) for step in steps] == pytest.approx(expected, rel=1e-12)


def test_cosine_rises_in_its_warm_up_and_falls_to_zero() -> None:
    config = OptimizerConfig(learning_rate=2.0, schedule="cosine", warmup=0.1)
    rates = [config.rate(step, 100) for step in range(101)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert (rates[10], rates[55], rates[100]) == pytest.approx((2.0, 1.0, 0.0))
    assert rates[32] == pytest.approx(1 + math.cos(math.pi * 22 / 90))
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))


@pytest.mark.parametrize("total", [1, 2, 3])
def test_cosine_has_a_rate_for_every_step_of_a_short_run(total: int) -> None:
    config = OptimizerConfig(learning_rate=1.0, warmup=0.5)
    assert all(0 < config.rate(step, total) <= 1 for step in range(total))


def test_a_constant_rate_is_constant() -> None:
    config = OptimizerConfig(learning_rate=0.3, schedule="constant", warmup=0.5)
    assert {config.rate(step, 10) for step in range(10)} == {0.3}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "lion"), ("schedule", "linear"), ("learning_rate", 0.0), ("learning_rate", -1.0),
        ("learning_rate", math.nan), ("warmup", 1.0), ("warmup", -0.1), ("decay_steps", 0), ("decay_rate", 0.0),
        ("decay_rate", 1.01), ("momentum", 1.0), ("momentum", -0.1), ("weight_decay", -1e-9),
        ("average", 1.0), ("average", -0.1), ("weight_decay", math.nan), ("clip_norm", -1.0), ("clip_norm", math.nan),
    ],
)  # fmt: skip
def test_a_value_outside_its_range_is_named(field: str, value: Any) -> None:
    named = {"name": "optimizer"}.get(field, field)
    with pytest.raises(ConfigError, match=f"{named}: expected .*, received {value}|{named}: expected .*'{value}'"):
        OptimizerConfig(**{field: value})
