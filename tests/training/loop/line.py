"""A task of one dense layer, for tests of the run loop."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.training.stages import one_device
from training.config import OptimizerConfig
from training.data.pipeline import Share
from training.loop.step import Sums
from training.loop.task import Specification, Task

STEPS = 6
BATCH = 4
ADAM = OptimizerConfig(learning_rate=0.05, schedule="constant")


class Line(Task):
    """Fits a line through points that are drawn anew for every epoch."""

    def __init__(
        self,
        optimizer: OptimizerConfig = ADAM,
        epochs: int = 2,
        at_step: Mapping[int, Callable[[], None]] = {},
        steps_per_epoch: int = STEPS,
    ) -> None:
        keras.utils.set_random_seed(4)
        self.layer = keras.Sequential(
            [keras.Input((3,)), keras.layers.Dropout(0.2), keras.layers.Dense(1, name="line")], name="fit"
        )
        settings = {"training": {"optimizer": {"learning_rate": optimizer.learning_rate, "name": optimizer.name}}}
        super().__init__(
            Specification(
                replicas=one_device(),
                records=Path("none"),
                networks={"encoder": self.layer},
                optimizer=optimizer,
                steps_per_epoch=steps_per_epoch,
                epochs=epochs,
                settings=settings,
                best_figure="closeness",
            )
        )
        self.at_step = at_step
        self.evaluations = 0

    def loss(self, batch: Any, step: tf.Tensor) -> Sums:
        def called(number: Any) -> Any:
            self.at_step.get(int(number), lambda: None)()
            return number

        tf.numpy_function(called, [step], tf.int64)
        points, values = batch
        losses = tf.square(self.layer(points, training=True) - values)
        return Sums(tf.reduce_sum(losses), tf.cast(tf.shape(points)[0], tf.float32))

    def epoch_batches(self, epoch: int, first_step: int, share: Share) -> tf.data.Dataset:
        points = np.random.default_rng(epoch).normal(size=(STEPS * BATCH, 3)).astype(np.float32)
        values = points @ np.array([[1.0], [-2.0], [0.5]], np.float32)

        return share(tf.data.Dataset.from_tensor_slices((points, values)).batch(BATCH).skip(first_step))

    def evaluate(self) -> dict[str, float]:
        self.evaluations += 1
        kernel = keras.ops.convert_to_numpy(self.layer.trainable_variables[0])
        return {"closeness": -float(np.abs(kernel[:, 0] - [1.0, -2.0, 0.5]).sum())}
