"""The interface between a run and what it trains."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from training.config import OptimizerConfig
from training.data.pipeline import Share
from training.loop.replicas import Replicas
from training.loop.step import Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Specification:
    """The facts about a task that a run needs.

    Attributes:
        replicas: The devices that compute.
        records: Finished records to train on.
        networks: The networks that are trained, built, by their part of a checkpoint: `encoder` or `decoder`.
        optimizer: Options of the optimizer.
        steps_per_epoch: Steps between two evaluations.
        epochs: Passes over the data.
        settings: Everything that a resumed run must share with the run before, JSON values only.
        best_figure: The dev figure, higher is better, that chooses the best checkpoint; None where there is no dev, and
            the last is the best.
        multipliers: Factor on the learning rate by path of a variable; 1 for all others.
    """

    replicas: Replicas
    records: Path
    networks: Mapping[str, keras.Model]
    optimizer: OptimizerConfig
    steps_per_epoch: int
    epochs: int
    settings: Mapping[str, Any]
    best_figure: str | None
    multipliers: Mapping[str, float] = field(default_factory=dict)

    @property
    def total_steps(self) -> int:
        """The steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def trainable(self) -> list[keras.Variable]:
        """The variables that are trained."""
        return [variable for network in self.networks.values() for variable in network.trainable_variables]


class Task(ABC):
    """Networks, data and loss that a run trains, and the scoring of dev.

    Args:
        spec: The facts that the run needs.
    """

    def __init__(self, spec: Specification) -> None:
        self.spec = spec

    @abstractmethod
    def loss(self, batch: Any, step: tf.Tensor) -> Sums:
        """Returns the sums of one replica's part of a training batch."""

    @abstractmethod
    def epoch_batches(self, epoch: int, first_step: int, share: Share) -> tf.data.Dataset:
        """Returns an epoch's batches from a step of it on, cut by `share`; the same batches at every call."""

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Scores the networks as they are on dev; not called where there is none."""

    def rehearse(self) -> None:  # noqa: B027 - a task may have nothing to rehearse
        """Scores a few photos of dev as `evaluate` does all, for an estimate of the memory."""

    def describe(self, directory: Path) -> None:  # noqa: B027 - a task may have nothing to add
        """Writes what later stages need to know about the networks into the run directory."""

    def pictures(self) -> Iterator[tuple[str, Any]]:
        """Yields names and images (H, W, 3) uint8 for TensorBoard after an evaluation."""
        yield from ()
