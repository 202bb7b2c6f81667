"""An estimate of what a run needs, without training: parameters, memory on each device, time an epoch."""

import math
import time
from typing import Any

import keras

from model.decoder import Decoder
from training.loop.memory import activation_bytes, activation_width, best_of, bytes_of, duration_told, needs_told
from training.loop.optimizer import Optimizer
from training.loop.step import Stepper
from training.loop.task import Task

STEPS = 3


def estimate(task: Task) -> str:
    """Measures a few steps on real batches, at learning rate 0, and adds the memory up.

    Args:
        task: The task. Its networks keep their weights.

    Returns:
        Lines of text.
    """
    spec = task.spec
    with spec.replicas.strategy.scope():
        optimizer = Optimizer(spec.trainable, spec.optimizer, spec.multipliers)
    seconds, part = _measured(task, optimizer)
    sizes = {
        "weights": bytes_of([v for network in spec.networks.values() for v in network.variables]),
        "optimizer": bytes_of(list(optimizer.slots.values())),
        "gradients": bytes_of(spec.trainable),
        "activations": sum(_activation_bytes(network, part) for network in spec.networks.values()),
    }
    epoch = best_of(seconds) * spec.steps_per_epoch
    lines = [
        *needs_told(spec.networks, spec.replicas.count, sizes, seconds),
        f"{spec.steps_per_epoch:,} steps an epoch, {duration_told(epoch)}; "
        f"{spec.epochs} epochs, {duration_told(epoch * spec.epochs)}, without scoring",
    ]
    return "\n".join(lines)


def _measured(task: Task, optimizer: Optimizer) -> tuple[list[float], Any]:
    """Returns the seconds of a few steps, and a replica's part of the last batch."""
    replicas = task.spec.replicas
    batches = replicas.distribute(lambda share: task.epoch_batches(0, 0, share))
    stepper = Stepper(replicas, task.loss, optimizer, batches.element_spec)
    seconds = []
    part = None
    for number, batch in zip(range(STEPS + 1), batches, strict=False):
        started = time.monotonic()
        stepper.step(batch, number, 0.0)
        seconds.append(time.monotonic() - started)
        part = replicas.first(batch)
    return seconds, part


def _activation_bytes(network: keras.Model, batch: Any) -> int:
    if not isinstance(network, Decoder):
        return activation_bytes(network, batch[0].shape[0])
    words = math.prod(batch[1].shape)
    config = network.config
    numbers = config.input_units + 6 * config.layers * config.units + 2 * config.vocabulary_size
    return int(2 * words * numbers * activation_width())
