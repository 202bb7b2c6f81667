"""Measures training steps: under plain Keras `fit`, and ours on synthetic data, from records, and on two replicas.

The network is a narrow VGG-19 at 112 pixels, batch 32, on pictures made in code; every variant has its own process.
"""

import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from bench.report import Row, median_row
from model.config import IMAGE_PIXELS
from model.presets import small

PART = "training"
BATCH = 32
CLASSES = 10
IMAGES = 640
WARM_UP = 4
STEPS = 24
ROUNDS = 3
PEER = "fit"
VARIANTS = {
    PEER: "plain Keras fit, Keras's layers, synthetic data",
    "fit ours": "Keras fit of our network, synthetic data",
    "synthetic": "our step, synthetic data",
    "records": "our step, from records, augmented",
    "two replicas": "our step, synthetic data, cpu:2",
}
BASES = {"fit ours": PEER, "synthetic": PEER, "records": PEER, "two replicas": "synthetic"}
"""What each variant is compared with."""


def measure() -> list[Row]:
    """Measures every variant in a process of its own, in a few rounds in which they take turns."""
    with tempfile.TemporaryDirectory() as folder:
        _write_pictures(Path(folder) / "pictures")
        records = Path(folder) / "records"
        prepare = [sys.executable, "-m", "training.cli", "prepare", "image-folder", str(Path(folder) / "pictures")]
        subprocess.run([*prepare, "--out", str(records)], check=True, capture_output=True)  # noqa: S603
        return rows_of([{variant: _measured(variant, records) for variant in VARIANTS} for _ in range(ROUNDS)])


def rows_of(rounds: Sequence[Mapping[str, Mapping[str, Sequence[float]]]]) -> list[Row]:
    """Returns a row for each variant, with the median of its ratios in the rounds, the least and the largest.

    Args:
        rounds: `steps` and `waits` of every variant, in seconds.
    """
    return [_row(variant, rounds) for variant in VARIANTS]


def _row(variant: str, rounds: Sequence[Mapping[str, Mapping[str, Sequence[float]]]]) -> Row:
    steps = [second for taken in rounds for second in taken[variant]["steps"]]
    waits = [second for taken in rounds for second in taken[variant]["waits"]]
    row = median_row(PART, VARIANTS[variant], steps)
    if variant == PEER:
        row = replace(row, remark=f"Keras {version('keras')}, TensorFlow {version('tensorflow')}")
    if variant == "records":
        row = replace(row, remark=f"input wait {100 * sum(waits) / sum(steps):.1f} %")
    if variant not in BASES:
        return row
    base = BASES[variant]
    ratios = [median(taken[base]["steps"]) / median(taken[variant]["steps"]) for taken in rounds]
    bounds = {"least_ratio": round(min(ratios), 3), "largest_ratio": round(max(ratios), 3)}
    return replace(row, ratio=round(median(ratios), 3), against=VARIANTS[base], figures=bounds)


def _measured(variant: str, records: Path) -> dict[str, list[float]]:
    command = [sys.executable, "-m", "bench.training", variant, str(records)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _write_pictures(folder: Path) -> None:
    """Writes pictures of coarse noise, 256x192 JPEG, in class folders."""
    random = np.random.default_rng(1)
    for number in range(IMAGES):
        directory = folder / f"class-{number % CLASSES}"
        directory.mkdir(parents=True, exist_ok=True)
        noise = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        data = io.BytesIO()
        noise.resize((256, 192), Image.Resampling.BICUBIC).save(data, "jpeg", quality=90)
        (directory / f"{number}.jpg").write_bytes(data.getvalue())


def _run_variant(variant: str, records: Path) -> dict[str, list[float]]:
    from model.encoder import build_encoder
    from training.config import ClassifierTrainingConfig, DeviceConfig, PipelineConfig
    from training.encoder.classifier import ClassifierTask
    from training.loop.replicas import Replicas

    replicas = Replicas.start(DeviceConfig(devices="cpu:2" if variant == "two replicas" else "cpu"))
    pipeline = PipelineConfig(batch_size=BATCH, smallest_crop=0.5)
    task = ClassifierTask(records, small().encoder, ClassifierTrainingConfig(pipeline=pipeline), replicas)
    if variant in ("fit", "fit ours"):
        return _fit(task.encoder if variant == "fit ours" else build_encoder(task.encoder_config))
    return _steps(task, replicas, synthetic=variant != "records")


def _steps(task: Any, replicas: Any, *, synthetic: bool) -> dict[str, list[float]]:
    from training.loop.optimizer import Optimizer
    from training.loop.step import Stepper

    with replicas.strategy.scope():
        optimizer = Optimizer(task.encoder.trainable_variables, task.spec.optimizer)

    def batches(share: Callable[[Any], Any]) -> Any:
        return share(_synthetic().repeat()) if synthetic else task.epoch_batches(0, 0, share).repeat()

    distributed = replicas.distribute(batches)
    stepper = Stepper(replicas, task.loss, optimizer, distributed.element_spec)
    iterator = iter(distributed)
    steps = []
    waits = []
    for number in range(WARM_UP + STEPS):
        started = time.perf_counter()
        batch = next(iterator)
        waits.append(time.perf_counter() - started)
        stepper.step(batch, number, 1e-4)
        steps.append(time.perf_counter() - started)
    return {"steps": steps[WARM_UP:], "waits": waits[WARM_UP:]}


def _synthetic() -> Any:
    import tensorflow as tf

    random = np.random.default_rng(2)
    images = random.integers(0, 256, (BATCH, IMAGE_PIXELS, IMAGE_PIXELS, 3), dtype=np.uint8)
    labels = random.integers(0, CLASSES, BATCH).astype(np.int32)
    return tf.data.Dataset.from_tensors((images, labels))


def _fit(encoder: Any) -> dict[str, list[float]]:
    import keras

    network = keras.Model(encoder.input, encoder.output["logits"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.AdamW(1e-4, weight_decay=0.05, global_clipnorm=5.0)
    network.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)  # XLA is slower on a CPU

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.ends: list[float] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras names them
            self.ends.append(time.perf_counter())

    clock = Clock()
    network.fit(_synthetic().repeat(WARM_UP + STEPS), epochs=1, verbose=0, callbacks=[clock])
    steps = np.diff(clock.ends)[WARM_UP - 1 :]
    return {"steps": [float(step) for step in steps], "waits": []}


if __name__ == "__main__":
    from model.engines.quiet import quiet_tensorflow

    quiet_tensorflow()
    sys.stdout.write(json.dumps(_run_variant(sys.argv[1], Path(sys.argv[2]))) + "\n")
