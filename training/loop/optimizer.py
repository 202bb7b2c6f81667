"""SGD and Adam as updates that every replica applies to its own copy of a variable.

Keras's optimizers sum the gradients of all replicas themselves, and cannot skip a step inside a replica. With these,
one replica and N replicas do the same arithmetic, and a gradient that is not finite changes no trained variable.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from training.config import OptimizerConfig

BETA_1 = 0.9
"""Decay of Adam's average of gradients (Kingma & Ba 2014, arXiv:1412.6980)."""

BETA_2 = 0.999
"""Decay of Adam's average of their squares."""

EPSILON = 1e-7
"""Added to Adam's divisor, so that it is never zero."""

AVERAGE_WARMUP = 10.0
"""Steps after which the decay of the moving average has risen to a half."""


class Optimizer:
    """The algorithm that updates variables, from gradients that are equal on every replica.

    Args:
        variables: What to train, as Keras variables; their order is the order of gradients.
        config: Algorithm and its constants. The learning rate is given with every update.
        multipliers: Factor on the learning rate by path of a variable; 1 for all others.

    Attributes:
        slots: Variables that the algorithm keeps between steps, by a name that is the same in every process.
    """

    def __init__(
        self,
        variables: Sequence[keras.Variable],
        config: OptimizerConfig,
        multipliers: Mapping[str, float] | None = None,
    ) -> None:
        self.variables = list(variables)
        self.config = config
        factors = multipliers or {}
        self._factors = [factors.get(variable.path, 1.0) for variable in self.variables]
        kept = {"first": config.name == "adam", "second": config.name == "adam"}
        kept |= {"momentum": config.name == "sgd" and config.momentum > 0, "average": config.average > 0}
        self.slots: dict[str, keras.Variable] = {
            f"optimizer/{kind}/{index:04d}": keras.Variable(
                tf.zeros(variable.shape), trainable=False, dtype="float32", name=f"{kind}_{index}"
            )
            for kind in (kind for kind, needed in kept.items() if needed)
            for index, variable in enumerate(self.variables)
        }

    def apply(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor, step: tf.Tensor) -> None:
        """Updates every variable once. Call it inside a replica.

        Args:
            gradients: One per variable, dense.
            rate: Learning rate. Scalar, float32.
            step: Number of the step, counted from 0. Scalar, int64.
        """
        for index, (variable, gradient) in enumerate(zip(self.variables, gradients, strict=True)):
            scaled = rate * self._factors[index]
            if self.config.name == "adam":
                self._adam(index, gradient, scaled, step)
            else:
                decay = self.config.weight_decay if len(variable.shape) > 1 else 0.0
                change = self._momentum(index, gradient + decay * variable.value)
                variable.value.assign_sub(scaled * change)
            if self.config.average > 0:
                self._follow(index, variable, step)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Replaces the variables by their moving averages inside the block, if averages are kept."""
        if self.config.average > 0:
            self._swap()
        try:
            yield
        finally:
            if self.config.average > 0:
                self._swap()

    def _swap(self) -> None:
        for index, variable in enumerate(self.variables):
            slot = self.slots[f"optimizer/average/{index:04d}"]
            values = keras.ops.convert_to_numpy(variable)
            variable.assign(keras.ops.convert_to_numpy(slot))
            slot.assign(values)

    def _follow(self, index: int, variable: keras.Variable, step: tf.Tensor) -> None:
        """Updates the moving average; the decay starts at 0 and rises to `average`."""
        count = tf.cast(step, tf.float32)
        decay = tf.minimum(self.config.average, count / (count + AVERAGE_WARMUP))
        average = self.slots[f"optimizer/average/{index:04d}"].value
        average.assign(decay * average + (1 - decay) * variable.value)

    def _adam(self, index: int, gradient: tf.Tensor, rate: tf.Tensor, step: tf.Tensor) -> None:
        """Updates a variable, by one operation beside the decay; with one for each term, memory is what limits them."""
        variable = self.variables[index].value
        first, second = (self.slots[f"optimizer/{kind}/{index:04d}"].value for kind in ("first", "second"))
        if self.config.weight_decay > 0 and len(variable.shape) > 1:
            variable.assign_sub(rate * self.config.weight_decay * variable)
        count = tf.cast(step + 1, tf.float32)
        square_power = tf.pow(BETA_2, count)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=first.handle,
            v=second.handle,
            beta1_power=tf.pow(BETA_1, count),
            beta2_power=square_power,
            lr=rate,
            beta1=BETA_1,
            beta2=BETA_2,
            # TensorFlow adds it to the root that is not corrected yet; the paper, and this, to the corrected one.
            epsilon=EPSILON * tf.sqrt(1 - square_power),
            grad=gradient,
        )

    def _momentum(self, index: int, gradient: tf.Tensor) -> Any:
        if self.config.momentum == 0:
            return gradient
        velocity = self.slots[f"optimizer/momentum/{index:04d}"].value
        return velocity.assign(self.config.momentum * velocity + gradient)
