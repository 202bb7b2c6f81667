"""Data-parallel replicas: one step over a global batch, the same whether one device or many on many machines do it.

*Tower* is the old word for a replica. Variables are created once and mirrored; every replica computes the sum of its
losses, sums and counts are reduced together, and the mean over the global batch is what is applied.
"""

import faulthandler
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from model.errors import ConfigError, DataError
from training.config import DeviceConfig, PipelineConfig
from training.data.pipeline import Share
from training.loop.devices import configure_devices
from training.loop.optimizer import Optimizer
from training.loop.workers import Cluster, answers, is_address, meet, read_cluster

SUM = tf.distribute.ReduceOp.SUM


class Sums(NamedTuple):
    """Holds what one replica found in its part of a batch, in sums, so that parts of any size add up.

    Attributes:
        loss: Sum of the losses. Scalar, float32.
        weight: What the loss is averaged over: images or words. Scalar, float32.
        figures: Further sums to be averaged over the weight, by name.
    """

    loss: tf.Tensor
    weight: tf.Tensor
    figures: dict[str, tf.Tensor] = {}  # noqa: RUF012 - never written to


LossFunction = Callable[[Any, tf.Tensor], Sums]
"""From a replica's part of a batch and the number of the step to sums."""


class StepResult(NamedTuple):
    """Holds what a training step found.

    Attributes:
        figures: Means over the global batch: `loss`, `gradient_norm`, and those of the loss function.
        finite: Whether loss and gradient were; if not, nothing was updated.
        stopping: How many workers have been asked to stop.
        gradients: The reduced gradients, where they were asked for.
    """

    figures: dict[str, float]
    finite: bool
    stopping: float
    gradients: list[tf.Tensor]


@dataclass(frozen=True)
class Replicas:
    """Holds the replicas of a run.

    Attributes:
        strategy: TensorFlow's distribution strategy.
        count: Replicas on all workers together.
        local: Replicas of this worker.
        worker: Number of this worker; 0 is the chief, which alone writes files.
        workers: Number of workers.
        addresses: `host:port` of every worker, where there are several.
        config: Devices and arithmetic.
    """

    strategy: Any
    count: int
    local: int
    worker: int = 0
    workers: int = 1
    addresses: tuple[str, ...] = ()
    config: DeviceConfig = field(default_factory=DeviceConfig)

    @classmethod
    def start(cls, config: DeviceConfig) -> "Replicas":
        """Sets devices up and joins the other workers of `TF_CONFIG`, if there are any.

        Raises:
            ConfigError: A device does not exist, `TF_CONFIG` is malformed, or `cpu:N` comes with several
                workers.
        """
        names = configure_devices(config)
        keras.config.set_dtype_policy(config.policy)
        cluster = read_cluster()
        if cluster is not None:
            return _join(cluster, config, names)
        if len(names) == 1:
            return cls(tf.distribute.get_strategy(), count=1, local=1, config=config)
        reduction = None if names[0].startswith("GPU") else tf.distribute.ReductionToOneDevice()
        mirrored = tf.distribute.MirroredStrategy(names, cross_device_ops=reduction)
        return cls(mirrored, count=len(names), local=len(names), config=config)

    @property
    def chief(self) -> bool:
        """Returns whether this worker writes checkpoints and figures."""
        return self.worker == 0

    def wait(self) -> None:
        """Waits until every worker has come here."""
        self.gathered(0)

    def gathered(self, value: int) -> list[int]:
        """Returns the value that each worker gives, an integer below 2**32."""
        own = tf.one_hot(self.worker, self.workers, tf.constant(value, tf.float64), dtype=tf.float64)

        def reduced() -> tf.Tensor:
            return tf.distribute.get_replica_context().all_reduce(SUM, tf.identity(own)) / self.local

        with self.peers_named():
            return [round(number) for number in self._first(self.strategy.run(reduced)).numpy().tolist()]

    @contextmanager
    def chief_first(self) -> Iterator[None]:
        """Lets the chief run the block before the others, who then find what it wrote."""
        if not self.chief:
            self.wait()
        yield
        if self.chief:
            self.wait()

    def check_pipeline(self, config: PipelineConfig, records: int) -> None:
        """Checks that every step has a batch, and every replica a part of it.

        Args:
            config: How records become batches.
            records: Records of an epoch.

        Raises:
            ConfigError: A batch is larger than an epoch; or smaller than the number of replicas (TensorFlow's
                convolutions have no gradient for an empty part on a CPU); or the `tf.data` service does not answer or
                would serve several workers.
        """
        if not self.count <= config.batch_size <= records:
            raise ConfigError(
                f"batch_size: expected {self.count} (a record for every replica) to {records} (all records), "
                f"received {config.batch_size}"
            )
        address = config.service.removeprefix("grpc://")
        if config.service and (self.workers > 1 or not is_address(address) or not answers(address)):
            raise ConfigError(
                f"service: expected grpc://host:port of a running tf.data service, and one worker, "
                f"received {config.service!r} and {self.workers}"
            )

    def distribute(self, batches: Callable[[Share], tf.data.Dataset]) -> Any:
        """Prefetches every replica's part of the batches to its device.

        Args:
            batches: Makes a dataset of global batches, the same on every worker, cut by the share that it is given.

        Returns:
            A distributed dataset; iterating gives one value per global batch.
        """
        return self.strategy.distribute_datasets_from_function(lambda _context: batches(self.parts))

    def parts(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Cuts global batches into one part for each replica of this worker, in their order.

        Args:
            batches: Tuples of tensors, each with the batch in front.

        Returns:
            A dataset of parts, which differ in size by at most one, and are empty for some replicas where a batch
            is smaller than their number.
        """
        if self.count == 1:
            return batches

        def cut(*batch: Any) -> tf.data.Dataset:
            batch = batch if isinstance(batches.element_spec, tuple) else batch[0]
            size = tf.shape(tf.nest.flatten(batch)[0])[0]

            def part(replica: tf.Tensor) -> Any:
                begin, end = replica * size // self.count, (replica + 1) * size // self.count
                return tf.nest.map_structure(lambda values: values[begin:end], batch)

            first = self.worker * self.local
            return tf.data.Dataset.range(first, first + self.local, output_type=tf.int32).map(part)

        return batches.flat_map(cut)

    def train_step(
        self, loss: LossFunction, optimizer: Optimizer, spec: Any, *, scaled: bool
    ) -> Callable[..., tuple[Any, ...]]:
        """Returns the traced function of one step; see `Stepper`, which calls it."""
        variables = [variable.value for variable in optimizer.variables]
        clip = optimizer.config.clip_norm

        def gradients_of(batch: Any, step: tf.Tensor, scale: tf.Tensor) -> tuple[list[tf.Tensor], Sums]:
            with tf.GradientTape() as tape:
                sums = loss(batch, step)
                target = sums.loss * scale if scaled else sums.loss
            found = tape.gradient(target, variables)
            # A variable without a gradient counts as one with zero; dense, since repeated rows must be added up first.
            pairs = zip(found, variables, strict=True)
            return [tf.zeros(v.shape) if g is None else tf.convert_to_tensor(g) for g, v in pairs], sums

        compiled = tf.function(gradients_of, jit_compile=True) if self.config.xla else gradients_of

        def replica_step(
            batch: Any, step: tf.Tensor, rate: tf.Tensor, scale: tf.Tensor, stop: tf.Tensor
        ) -> tuple[Any, ...]:
            gradients, sums = compiled(batch, step, scale)
            own = [sums.loss, sums.weight, *sums.figures.values(), tf.identity(stop)]
            reduced = tf.distribute.get_replica_context().all_reduce(SUM, [*gradients, *own])
            gradients, (total, weight, *figures, stopping) = reduced[: len(gradients)], reduced[len(gradients) :]
            divisor = weight * scale if scaled else weight
            gradients = [tf.math.divide_no_nan(gradient, divisor) for gradient in gradients]
            norm = tf.linalg.global_norm(gradients)
            if clip > 0:
                gradients, _ = tf.clip_by_global_norm(gradients, clip, use_norm=norm)
            finite = tf.math.is_finite(norm) & tf.math.is_finite(total)
            tf.cond(finite, lambda: _done(optimizer.apply, gradients, rate, step), lambda: False)
            means = [tf.math.divide_no_nan(value, weight) for value in (total, *figures)]
            names = ("loss", *sums.figures)
            return dict(zip(names, means, strict=True)) | {"gradient_norm": norm}, finite, stopping, gradients

        number = tf.TensorSpec((), tf.float32)

        @tf.function(input_signature=[spec, tf.TensorSpec((), tf.int64), number, number, number])  # type: ignore[untyped-decorator]
        def step_function(
            batch: Any, step: tf.Tensor, rate: tf.Tensor, scale: tf.Tensor, stop: tf.Tensor
        ) -> tuple[Any, ...]:
            outputs = self.strategy.run(replica_step, args=(batch, step, rate, scale, stop))
            return tuple(tf.nest.map_structure(self._first, output) for output in outputs)

        traced: Callable[..., tuple[Any, ...]] = step_function
        return traced

    def evaluator(self, sums: LossFunction) -> Callable[[Any], dict[str, float]]:
        """Returns a function that averages a loss function over a distributed dataset without training.

        Args:
            sums: Gives the sums of a part; the step it receives is 0.

        Returns:
            A function from what `distribute` returned to `loss` and the function's figures, each a mean over the whole
            weight. It is traced once, by the first dataset, and raises `DataError` when there is nothing in one.
        """

        def replica(batch: Any) -> Any:
            found = sums(batch, tf.constant(0, tf.int64))
            values = {"loss": found.loss, "weight": found.weight} | found.figures
            return tf.distribute.get_replica_context().all_reduce(SUM, values)

        def evaluated(batch: Any) -> Any:
            return tf.nest.map_structure(self._first, self.strategy.run(replica, args=(batch,)))

        traced: list[Callable[[Any], dict[str, tf.Tensor]]] = []

        def evaluate(batches: Any) -> dict[str, float]:
            if not traced:
                traced.append(tf.function(evaluated, input_signature=[batches.element_spec]))
            totals: dict[str, float] = {}
            for batch in batches:
                for name, value in traced[0](batch).items():
                    totals[name] = totals.get(name, 0.0) + float(value)
            weight = totals.pop("weight", 0.0)
            if weight == 0:
                raise DataError("expected records to score, found none; check the split")
            return {name: value / weight for name, value in totals.items()}

        return evaluate

    @contextmanager
    def peers_named(self) -> Iterator[None]:
        """Names the workers that have gone where what the block does together with them fails.

        Raises:
            DataError: A worker has gone.
        """
        try:
            yield
        except tf.errors.OpError as error:
            gone = [address for address in self.addresses if not answers(address)]
            lost = self.workers > 1 and isinstance(error, tf.errors.UnavailableError)
            if not gone and not lost:
                raise
            raise DataError(
                f"expected all {self.workers} workers to the end, lost: {', '.join(gone) or error.message}; "
                "see what that worker wrote last, then start all of them again to go on from the last checkpoint"
            ) from error

    def _first(self, value: Any) -> Any:
        return self.strategy.experimental_local_results(value)[0]


def _done(function: Callable[..., None], *arguments: Any) -> bool:
    function(*arguments)
    return True


class Stepper:
    """Takes training steps; scales the loss for float16, halving the scale at an overflow.

    Args:
        replicas: Who computes.
        loss: Gives a replica's sums.
        optimizer: Updates the variables.
        spec: `element_spec` of the distributed batches.

    Attributes:
        scale: Factor on the loss, part of a checkpoint.
        good_steps: Steps since the scale last changed, part of a checkpoint.

    Source:
        Micikevicius et al. 2017 (arXiv:1710.03740), section 3.2, with a dynamic scale.
    """

    GROWTH_STEPS = 2000

    def __init__(self, replicas: Replicas, loss: LossFunction, optimizer: Optimizer, spec: Any) -> None:
        self.scaled = replicas.config.precision == "float16"
        self.scale, self.good_steps = (2.0**15 if self.scaled else 1.0), 0
        self.function = replicas.train_step(loss, optimizer, spec, scaled=self.scaled)

    def step(self, batch: Any, number: int, rate: float, *, stop: bool = False, gradients: bool = False) -> StepResult:
        """Takes one step.

        Args:
            batch: One value of the distributed dataset.
            number: Number of the step, counted from 0.
            rate: Learning rate.
            stop: Whether this worker has been asked to stop.
            gradients: Whether the gradients are wanted.

        Returns:
            What the step found. An overflow of float16 is no step: `finite` is true, nothing was updated, and the
            scale is halved for the next.
        """
        outputs = self.function(
            batch, tf.constant(number, tf.int64), tf.constant(rate), tf.constant(self.scale), tf.constant(float(stop))
        )
        figures, finite, stopping, found = outputs
        result = StepResult(
            {name: float(value) for name, value in figures.items()},
            bool(finite), float(stopping), list(found) if gradients else [],
        )  # fmt: skip
        return self._rescaled(result) if self.scaled else result

    def _rescaled(self, result: StepResult) -> StepResult:
        if not result.finite and self.scale > 1:
            self.scale, self.good_steps = self.scale / 2, 0
            return result._replace(finite=True)
        self.good_steps += 1
        if self.good_steps == self.GROWTH_STEPS:
            self.scale, self.good_steps = min(self.scale * 2, 2.0**24), 0
        return result


def _join(cluster: Cluster, config: DeviceConfig, names: Sequence[str]) -> Replicas:
    if len(names) > 1 and names[0].startswith("CPU"):
        raise ConfigError(f"devices {config.devices}: expected cpu or GPUs with several workers; start more workers")
    meet(cluster, config.worker_timeout_seconds)
    # Should a worker be lost just now, TensorFlow waits in C++ with Python's lock held: no signal or timer reaches us.
    faulthandler.dump_traceback_later(config.worker_timeout_seconds, exit=True)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    finally:
        faulthandler.cancel_dump_traceback_later()
    count = strategy.num_replicas_in_sync
    workers = len(cluster.addresses)
    return Replicas(strategy, count, count // workers, cluster.worker, workers, cluster.addresses, config)
