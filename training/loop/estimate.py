"""What a run will need, before anything is trained: parameters, memory on each device, time an epoch."""

import math
import time
from collections.abc import Sequence
from typing import Any

import keras

from model.decoder import Decoder
from training.loop.optimizer import Optimizer
from training.loop.step import Stepper
from training.loop.task import Task

STEPS = 3
MIB = 2**20


def estimate(task: Task) -> str:
    """Measures a few steps on real batches, at learning rate 0, and adds the memory up.

    Args:
        task: What would be trained. Its networks keep their weights.

    Returns:
        Lines of text.
    """
    spec = task.spec
    replicas = spec.replicas
    with replicas.strategy.scope():
        optimizer = Optimizer(spec.trainable, spec.optimizer, spec.multipliers)
    batches = replicas.distribute(lambda share: task.epoch_batches(0, 0, share))
    stepper = Stepper(replicas, task.loss, optimizer, batches.element_spec)
    seconds, part = [], None
    for number, batch in zip(range(STEPS + 1), batches, strict=False):
        started = time.monotonic()
        stepper.step(batch, number, 0.0)
        seconds.append(time.monotonic() - started)
        part = replicas.strategy.experimental_local_results(batch)[0]
    step = min(seconds[1:], default=seconds[0])
    lines = [
        f"{name}: {sum(math.prod(v.shape) for v in network.trainable_variables):,} parameters"
        for name, network in spec.networks.items()
    ]
    weights = _bytes([v for network in spec.networks.values() for v in network.variables])
    slots, gradients = _bytes(list(optimizer.slots.values())), _bytes(spec.trainable)
    activations = sum(_activation_bytes(network, part) for network in spec.networks.values())
    parts = {"weights": weights, "optimizer": slots, "gradients": gradients, "activations": activations}
    listed = ", ".join(f"{name} {size / MIB:,.0f}" for name, size in parts.items())
    lines += [
        f"memory on each of {replicas.count} devices, about: {sum(parts.values()) / MIB:,.0f} MiB ({listed})",
        f"first step {seconds[0]:.1f} s, then {step:.3f} s each, the best of {len(seconds) - 1}",
        f"{spec.steps_per_epoch:,} steps an epoch, {_duration(step * spec.steps_per_epoch)}; "
        f"{spec.epochs} epochs, {_duration(step * spec.steps_per_epoch * spec.epochs)}, without scoring",
    ]
    return "\n".join(lines)


def _bytes(variables: Sequence[keras.Variable]) -> int:
    return sum(4 * math.prod(variable.shape) for variable in variables)  # float32 and int32 alone


def _activation_bytes(network: keras.Model, batch: Any) -> int:
    """Returns the outputs of all layers, kept for the backward pass, and their gradients, in bytes."""
    width = 2 if "16" in keras.config.dtype_policy().compute_dtype else 4
    if isinstance(network, Decoder):
        words = math.prod(batch[1].shape)
        config = network.config
        numbers = config.input_units + 6 * config.layers * config.units + 2 * config.vocabulary_size
        return int(2 * words * numbers * width)
    outputs = [layer.output for layer in network.layers if not isinstance(layer.output, dict)]
    return int(2 * batch[0].shape[0] * width * sum(math.prod(output.shape[1:]) for output in outputs))


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
