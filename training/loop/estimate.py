"""An estimate of what a run needs, without training: parameters, time an epoch, and memory, by a small dress rehearsal.

A model of the memory would have to know TensorFlow's buffers and the allocator's; the process is asked instead.
"""

import math
import time
from collections.abc import Sequence
from typing import Any

import keras

from training.data.feed import Feed
from training.loop.checkpoint import named_variables, serialized
from training.loop.devices import gpu_peak_bytes
from training.loop.memory import MIB, best_of, bytes_of, duration_told, needs_told, peak_bytes
from training.loop.optimizer import Optimizer
from training.loop.replicas import Replicas
from training.loop.step import Stepper
from training.loop.task import Task

STEPS = 3

LOOKED_SECONDS = 5.0
"""How long the largest batch is looked for: captions, and so batches, are of different lengths."""


def estimate(task: Task) -> str:
    """Measures a few steps on real batches at learning rate 0, the scoring of a few photos, and a checkpoint.

    Args:
        task: The task. Its networks keep their weights.

    Returns:
        Lines of text.
    """
    spec = task.spec
    with spec.replicas.strategy.scope():
        optimizer = Optimizer(spec.trainable, spec.optimizer, spec.multipliers)
    seconds = _measured(task, optimizer)
    variables = dict(optimizer.slots)
    for part, network in spec.networks.items():
        variables |= named_variables(network, part)
    # In a run's order: a checkpoint is written while what scoring has taken is still held.
    if spec.best_figure is not None:
        task.rehearse()
    serialized(variables, {})
    sizes = {
        "weights": bytes_of([v for network in spec.networks.values() for v in network.variables]),
        "optimizer": bytes_of(list(optimizer.slots.values())),
        "gradients": bytes_of(spec.trainable),
    }
    epoch = best_of(seconds) * spec.steps_per_epoch
    lines = [
        *needs_told(spec.networks, peak_bytes(), sizes, seconds),
        *_devices_told(spec.replicas),
        f"{spec.steps_per_epoch:,} steps an epoch, {duration_told(epoch)}; "
        f"{spec.epochs} epochs, {duration_told(epoch * spec.epochs)}, without scoring",
    ]
    return "\n".join(lines)


def _measured(task: Task, optimizer: Optimizer) -> Sequence[float]:
    """Returns the seconds of a few steps; one more is taken with the largest batch that is found."""
    replicas = task.spec.replicas
    batches = replicas.distribute(lambda share: task.epoch_batches(0, 0, share))
    stepper = Stepper(replicas, task.loss, optimizer, batches.element_spec)
    seconds: list[float] = []
    largest: tuple[int, Any] = (0, None)
    looked_until = time.monotonic()
    with Feed(batches) as feed:
        for number, batch in enumerate(feed):
            if len(seconds) <= STEPS:
                started = time.monotonic()
                stepper.step(batch, number, 0.0)
                seconds.append(time.monotonic() - started)
                looked_until = time.monotonic() + LOOKED_SECONDS
            largest = max(largest, (_size(replicas, batch), batch), key=lambda found: found[0])
            if time.monotonic() > looked_until:
                break
    stepper.step(largest[1], len(seconds), 0.0)
    return seconds


def _size(replicas: Replicas, batch: Any) -> int:
    return sum(math.prod(values.shape) for values in keras.tree.flatten(replicas.first(batch)))


def _devices_told(replicas: Replicas) -> list[str]:
    """Returns a line on the memory of GPUs, where there are any."""
    peaks = gpu_peak_bytes()[: replicas.local]
    return [f"memory of each of {len(peaks)} GPUs: about {max(peaks) / MIB:,.0f} MiB at its peak"] if peaks else []
