"""One training step over a global batch, and scoring without one: the same on one replica and on many.

Every replica computes the sum of its losses. Sums and counts are reduced together, and the mean over the global batch
is what is applied.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from model.errors import DataError
from training.data.feed import Feed
from training.loop.deadline import within
from training.loop.optimizer import Optimizer
from training.loop.replicas import SUM, Replicas


class Sums(NamedTuple):
    """Sums over one replica's part of a batch; parts of any size add up.

    Attributes:
        loss: Sum of the losses. Scalar, float32.
        weight: What the loss is averaged over: images or words. Scalar, float32.
        figures: Further sums to be averaged over the weight, by name.
    """

    loss: tf.Tensor
    weight: tf.Tensor
    figures: dict[str, tf.Tensor] = {}  # noqa: RUF012 - never written to


LossFunction = Callable[[Any, tf.Tensor], Sums]
"""A function from a replica's part of a batch, and the number of the step, to sums."""


class StepResult(NamedTuple):
    """The outcome of a training step.

    Attributes:
        figures: Means over the global batch: `loss`, `gradient_norm`, and those of the loss function.
        finite: Whether loss and gradient were finite; if not, nothing was updated.
        stopping: Number of workers that have been asked to stop.
        gradients: The reduced gradients, where they were asked for.
    """

    figures: dict[str, float]
    finite: bool
    stopping: float
    gradients: list[tf.Tensor]


class LossScale:
    """The factor on a float16 loss: halved at an overflow, doubled after many good steps; 1 where it is not needed.

    Args:
        active: Whether the loss is scaled.
        state: From `state`; None for a fresh scale.

    Attributes:
        active: Whether the loss is scaled.
        value: The factor.
        good_steps: Steps since the factor last changed.

    Source:
        Micikevicius et al. 2017 (arXiv:1710.03740), section 3.2, with a dynamic scale.
    """

    GROWTH_STEPS = 2000
    FIRST = 2.0**15
    LARGEST = 2.0**24

    def __init__(self, *, active: bool, state: dict[str, Any] | None = None) -> None:
        self.active = active
        self.value = self.FIRST if active else 1.0
        self.good_steps = 0
        if state:
            self.value = float(state["scale"])
            self.good_steps = int(state["good_steps"])

    def state(self) -> dict[str, float]:
        """Returns what a checkpoint keeps, JSON values only."""
        return {"scale": self.value, "good_steps": self.good_steps}

    def update(self, *, finite: bool) -> bool:
        """Adapts the factor to a step's outcome; returns whether the step only overflowed, and can be taken again."""
        if not self.active:
            return False
        if not finite and self.value > 1:
            self.value /= 2
            self.good_steps = 0
            return True
        self.good_steps += 1
        if self.good_steps == self.GROWTH_STEPS:
            self.value = min(self.value * 2, self.LARGEST)
            self.good_steps = 0
        return False


class Stepper:
    """The training steps of a run.

    Args:
        replicas: The devices that compute.
        loss: Returns a replica's sums.
        optimizer: Updates the variables.
        spec: `element_spec` of the distributed batches.
        loss_scale: `state` of the loss scale in a checkpoint; None for a fresh one.

    Attributes:
        function: The traced step.
        loss_scale: The factor on the loss.
    """

    def __init__(
        self, replicas: Replicas, loss: LossFunction, optimizer: Optimizer, spec: Any,
        loss_scale: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.loss_scale = LossScale(active=replicas.config.precision == "float16", state=loss_scale)
        self.function = _traced_step(replicas, _ReplicaStep(replicas, loss, optimizer), spec)
        self._timeout_seconds = replicas.config.operation_timeout_seconds
        self._is_first = True

    def step(self, batch: Any, number: int, rate: float, *, stop: bool = False, gradients: bool = False) -> StepResult:
        """Takes one step.

        Args:
            batch: One value of the distributed dataset.
            number: Number of the step, counted from 0.
            rate: Learning rate.
            stop: Whether this worker has been asked to stop.
            gradients: Whether the gradients are wanted.

        Returns:
            The outcome. After an overflow of float16 `finite` is true, nothing was updated, and the scale is halved;
            take the step again.
        """
        scalars = (
            tf.constant(number, tf.int64),
            tf.constant(rate),
            tf.constant(self.loss_scale.value),
            tf.constant(float(stop)),
        )
        # The first step is traced, which takes longer than all limits that are sensible for a step.
        limit = None if self._is_first else self._timeout_seconds
        figures, finite, stopping, found = within(limit, f"step {number}", lambda: self._taken(batch, *scalars))
        self._is_first = False
        overflow = self.loss_scale.update(finite=bool(finite))
        return StepResult(
            figures=figures,
            finite=bool(finite) or overflow,
            stopping=float(stopping),
            gradients=list(found) if gradients else [],
        )

    def _taken(self, *inputs: Any) -> tuple[dict[str, float], Any, Any, Any]:
        """Takes a step, and waits for its figures: TensorFlow returns before a GPU has finished."""
        figures, *others = self.function(*inputs)
        return {name: float(value) for name, value in figures.items()}, *others


class _ReplicaStep:
    """What each replica does in a step: gradients of its part, their reduction, the update."""

    def __init__(self, replicas: Replicas, loss: LossFunction, optimizer: Optimizer) -> None:
        self._loss = loss
        self._optimizer = optimizer
        self._variables = [variable.value for variable in optimizer.variables]
        self._scaled = replicas.config.precision == "float16"
        xla = replicas.config.xla
        self._gradients_of = tf.function(self._own_gradients, jit_compile=True) if xla else self._own_gradients

    def take(self, batch: Any, step: tf.Tensor, rate: tf.Tensor, scale: tf.Tensor, stop: tf.Tensor) -> tuple[Any, ...]:
        """Takes one replica's part in a step; returns figures, whether all was finite, requests to stop, gradients."""
        gradients, sums = self._gradients_of(batch, step, scale)
        own = [sums.loss, sums.weight, *sums.figures.values(), tf.identity(stop)]
        reduced = tf.distribute.get_replica_context().all_reduce(SUM, [*gradients, *own])
        total, weight, *figures, stopping = reduced[len(gradients) :]
        divisor = weight * scale if self._scaled else weight
        gradients = [tf.math.divide_no_nan(gradient, divisor) for gradient in reduced[: len(gradients)]]
        norm = tf.linalg.global_norm(gradients)
        clip = self._optimizer.config.clip_norm
        if clip > 0:
            gradients, _ = tf.clip_by_global_norm(gradients, clip, use_norm=norm)
        finite = tf.math.is_finite(norm) & tf.math.is_finite(total)
        tf.cond(finite, lambda: _done(self._optimizer.apply, gradients, rate, step), lambda: False)
        means = [tf.math.divide_no_nan(value, weight) for value in (total, *figures)]
        names = ("loss", *sums.figures)
        return dict(zip(names, means, strict=True)) | {"gradient_norm": norm}, finite, stopping, gradients

    def _own_gradients(self, batch: Any, step: tf.Tensor, scale: tf.Tensor) -> tuple[list[tf.Tensor], Sums]:
        with tf.GradientTape() as tape:
            sums = self._loss(batch, step)
            target = sums.loss * scale if self._scaled else sums.loss
        found = tape.gradient(target, self._variables)
        # No gradient counts as zero. Dense, because repeated rows must be added up before the norm is taken.
        pairs = zip(found, self._variables, strict=True)
        return [tf.zeros(v.shape) if g is None else tf.convert_to_tensor(g) for g, v in pairs], sums


def _traced_step(replicas: Replicas, replica_step: _ReplicaStep, spec: Any) -> Callable[..., tuple[Any, ...]]:
    """Returns the traced function of one step on all replicas."""
    number = tf.TensorSpec((), tf.float32)

    @tf.function(input_signature=[spec, tf.TensorSpec((), tf.int64), number, number, number])  # type: ignore[untyped-decorator]
    def step_function(
        batch: Any, step: tf.Tensor, rate: tf.Tensor, scale: tf.Tensor, stop: tf.Tensor
    ) -> tuple[Any, ...]:
        outputs = replicas.strategy.run(replica_step.take, args=(batch, step, rate, scale, stop))
        return tuple(tf.nest.map_structure(replicas.first, output) for output in outputs)

    traced: Callable[..., tuple[Any, ...]] = step_function
    return traced


def _done(function: Callable[..., None], *arguments: Any) -> bool:
    function(*arguments)
    return True


def evaluator(replicas: Replicas, sums: LossFunction) -> Callable[[Any], dict[str, float]]:
    """Returns a function that averages a loss function over a distributed dataset without training.

    Args:
        replicas: The devices that compute.
        sums: Returns the sums of a part; it is called with step 0.

    Returns:
        A function from what `Replicas.distribute` returned to `loss` and the function's figures, each a mean over the
        whole weight. It is traced once, by the first dataset, and raises `DataError` when a dataset is empty.
    """

    def replica(batch: Any) -> Any:
        found = sums(batch, tf.constant(0, tf.int64))
        values = {"loss": found.loss, "weight": found.weight} | found.figures
        return tf.distribute.get_replica_context().all_reduce(SUM, values)

    def evaluated(batch: Any) -> Any:
        return tf.nest.map_structure(replicas.first, replicas.strategy.run(replica, args=(batch,)))

    traced: list[Callable[[Any], dict[str, tf.Tensor]]] = []

    def evaluate(batches: Any) -> dict[str, float]:
        if not traced:
            traced.append(tf.function(evaluated, input_signature=[batches.element_spec]))
        totals: dict[str, float] = {}
        with Feed(batches) as feed:
            for batch in feed:
                for name, value in traced[0](batch).items():
                    totals[name] = totals.get(name, 0.0) + float(value)
        weight = totals.pop("weight", 0.0)
        if weight == 0:
            raise DataError("expected records to score, found none; check the split")
        return {name: value / weight for name, value in totals.items()}

    return evaluate
