"""Data-parallel replicas, on one device or on many of several machines; *tower* is the old word for a replica."""

import faulthandler
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from model.errors import ConfigError, DataError
from training.config import DeviceConfig, PipelineConfig
from training.data.pipeline import Share
from training.loop.deadline import TimedBatches, within
from training.loop.devices import configure_devices
from training.loop.workers import Cluster, answers, is_address, lost, meet, read_cluster

SUM = tf.distribute.ReduceOp.SUM
LOST_SECONDS = 10
"""How long to look for the worker that a connection was lost with."""


@dataclass(frozen=True)
class Replicas:
    """The replicas of a run.

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
        """Configures the devices and joins the other workers of `TF_CONFIG`, if there are any.

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
        """Waits until every worker has called this."""
        self.gathered(0)

    def gathered(self, value: int) -> list[int]:
        """Returns the value that each worker gives, an integer below 2**32."""
        if self.workers == 1:
            return [value]
        own = tf.one_hot(self.worker, self.workers, tf.constant(value, tf.float64), dtype=tf.float64)

        def reduced() -> tf.Tensor:
            return tf.distribute.get_replica_context().all_reduce(SUM, tf.identity(own)) / self.local

        with self.peers_named():
            return [round(number) for number in self.first(self.strategy.run(reduced)).numpy().tolist()]

    @contextmanager
    def chief_first(self) -> Iterator[None]:
        """Lets the chief run the block before the other workers, which then find what it wrote."""
        if not self.chief:
            self.wait()
        yield
        if self.chief:
            self.wait()

    def check_pipeline(self, config: PipelineConfig, records: int) -> None:
        """Checks that every step has a batch, and every replica a part of it.

        Args:
            config: Batch size and service.
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
        seconds = self.config.operation_timeout_seconds
        distribute = self.strategy.distribute_datasets_from_function
        # A `tf.data` service is asked already here.
        distributed = within(seconds, "a pipeline of batches", lambda: distribute(lambda _: batches(self.parts)))
        return distributed if seconds is None else TimedBatches(distributed, seconds)

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
                begin = replica * size // self.count
                end = (replica + 1) * size // self.count
                return tf.nest.map_structure(lambda values: values[begin:end], batch)

            first = self.worker * self.local
            return tf.data.Dataset.range(first, first + self.local, output_type=tf.int32).map(part)

        return batches.flat_map(cut)

    @contextmanager
    def peers_named(self) -> Iterator[None]:
        """Raises an error that names the lost workers if an operation with them fails inside the block.

        Raises:
            DataError: A worker has gone.
        """
        try:
            yield
        except tf.errors.OpError as error:
            broken = self.workers > 1 and isinstance(error, tf.errors.UnavailableError)
            gone = lost(self.addresses, LOST_SECONDS if broken else 0)
            if not gone and not broken:
                raise
            raise DataError(
                f"expected all {self.workers} workers to the end, lost: {', '.join(gone) or error.message}; "
                "see the last output of that worker, then start all workers again to continue from the last checkpoint"
            ) from error

    def first(self, value: Any) -> Any:
        """Returns the value of this worker's first replica."""
        return self.strategy.experimental_local_results(value)[0]


def _join(cluster: Cluster, config: DeviceConfig, names: Sequence[str]) -> Replicas:
    if len(names) > 1 and names[0].startswith("CPU"):
        raise ConfigError(f"devices {config.devices}: expected cpu or GPUs with several workers; start more workers")
    meet(cluster, config.worker_timeout_seconds)
    # If a worker is lost now, TensorFlow waits in C++ and holds the GIL: no signal or timer is handled.
    faulthandler.dump_traceback_later(config.worker_timeout_seconds, exit=True)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    finally:
        faulthandler.cancel_dump_traceback_later()
    count = strategy.num_replicas_in_sync
    workers = len(cluster.addresses)
    return Replicas(strategy, count, count // workers, cluster.worker, workers, cluster.addresses, config)
