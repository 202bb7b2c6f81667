"""The training loop of distillation: Keras itself takes the steps, on any backend.

The run directory holds the same as that of `training.loop.run`, but for two checkpoints in place of several, and no
summaries for TensorBoard.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from model.atomic import atomic_file
from model.errors import DataError
from training.config import RunConfig
from training.data.ahead import ahead
from training.loop.checkpoint import (
    BEST,
    CheckpointClock,
    Variables,
    differences,
    load_checkpoint,
    named_variables,
    read_progress,
    save_checkpoint,
    serialized,
)
from training.loop.curves import draw_curves
from training.loop.directory import BEFORE, CURVES, DISTILLED, METRICS
from training.loop.divergence import advice, diverged, has_exploded, not_finite
from training.loop.figures import FigureLog
from training.loop.memory import best_of, bytes_of, duration_told, needs_told, peak_bytes
from training.progress import StopRequest, note, progress

ESTIMATED_STEPS = 3

OVERFLOWS = 24
"""Steps in a row that may overflow in float16, which Keras skips: enough for its loss scale to come down to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """The specification of what a `KerasRun` trains.

    Attributes:
        label: Text of the progress bar.
        network: The network, compiled.
        variables: Everything that a checkpoint holds, the optimizer's variables too.
        batch: Inputs and targets of a step, a function of its number, from 0, alone.
        total: Steps of the whole run.
        learning_rate: Highest learning rate.
        settings: Everything that a resumed run must share with the run before, JSON values only.
        compare: Figures of photos that are not trained on; None where there are none.
        best_figure: The one of these figures, higher is better, that chooses the best checkpoint.
        settle: Updates variables that are computed from trained ones; called before each save.
    """

    label: str
    network: keras.Model
    variables: Variables
    batch: Callable[[int], tuple[Any, Mapping[str, Any]]]
    total: int
    learning_rate: float
    settings: Mapping[str, Any]
    compare: Callable[[], Mapping[str, float]] | None = None
    best_figure: str = ""
    settle: Callable[[], None] | None = None


def check_settings(directory: Path, settings: Mapping[str, Any]) -> None:
    """Checks that the directory holds no other run.

    Raises:
        DataError: It does.
    """
    checkpoint = directory / DISTILLED
    if not checkpoint.exists():
        return
    different = ", ".join(sorted(differences(read_progress(checkpoint), json.loads(json.dumps(settings)))))
    if different:
        raise DataError(
            f"{checkpoint}: expected the photos, teacher and options of this run, differs in {different}; "
            "give the same, another directory, or --restart"
        )


class KerasRun:
    """A training run in its directory; it continues from the directory's checkpoint if there is one.

    Args:
        directory: Run directory.
        lesson: What is trained.
        config: Intervals of checkpoints and figures.
        compare_steps: Steps between two comparisons on photos that are not trained on.

    Raises:
        DataError: The directory holds another run, or its checkpoint is damaged.
    """

    def __init__(self, directory: Path, lesson: Lesson, config: RunConfig, *, compare_steps: int = 500) -> None:
        self.directory = directory
        self.lesson = lesson
        self.config = config
        self.compare_steps = compare_steps
        self.step = 0
        self.best = float("-inf")
        check_settings(directory, lesson.settings)
        if (directory / DISTILLED).exists():
            saved = load_checkpoint(directory / DISTILLED, lesson.variables)
            self.step = int(saved["step"])
            # Checkpoints of earlier versions have no best.
            self.best = float("-inf") if saved.get("best") is None else float(saved["best"])
        self._log = FigureLog(directory, self.step)
        self._policy = keras.config.dtype_policy().name
        self._overflows = 0
        self._clock = CheckpointClock(config, self.step)

    def train(self) -> bool:
        """Trains to the end.

        Returns:
            Whether training is complete; False after a requested stop.

        Raises:
            DataError: The run has diverged; the last good checkpoint stays.
        """
        steps = range(self.step, self.lesson.total)
        with StopRequest() as stop, self._log:
            bar = progress(steps, self.lesson.label, total=self.lesson.total, initial=self.step, unit="step")
            batches = ahead(self.lesson.batch, steps)
            for _, (inputs, targets) in zip(stop.until_requested(bar), batches, strict=False):
                figures = self._step(inputs, targets)
                self._log.train(self.step, figures, write=self._due(self.config.summary_steps))
                losses = {name: f"{self._log.recent(name):.3f}" for name in figures if "loss" in name}
                bar.set_postfix(losses, refresh=False)
                if self._due(self.compare_steps):
                    self._compare()
                if self._clock.due(self.step):
                    self._save()
        if self.step > self._clock.saved_at:
            self._save()
        return self.step == self.lesson.total

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.lesson.total

    def _step(self, inputs: Any, targets: Mapping[str, Any]) -> dict[str, float]:
        """Takes a step and returns its figures."""
        started = time.monotonic()
        self.lesson.network.reset_metrics()  # Keras returns means since the last reset
        means = self.lesson.network.train_on_batch(inputs, targets, return_dict=True)
        figures = {name: float(value) for name, value in means.items()}
        self._overflows = self._overflows + 1 if has_exploded(figures) else 0
        if self._overflows > (OVERFLOWS if "float16" in self._policy.split("_") else 0):
            raise self._diverged(figures)
        self.step += 1
        return figures | {"step_seconds": time.monotonic() - started}

    def _diverged(self, found: Mapping[str, float]) -> DataError:
        """Rejects checkpoints of the present weights and returns the error that ends the run."""
        good = self.step - max(0, self._overflows - 1)  # steps that overflow change nothing
        last, before = (self.directory / name for name in (DISTILLED, BEFORE))
        for path in (before, last):
            if path.exists() and int(read_progress(path)["step"]) >= good:
                path.unlink()
        if before.exists() and not last.exists():
            before.replace(last)
        options = advice(self.lesson.learning_rate, self._policy)
        return diverged(self.step, found, options, last if last.exists() else None)

    def _compare(self) -> None:
        """Scores photos that are not trained on, keeps the best network, and draws the curves."""
        self._check_weights()
        if self.lesson.compare is not None:
            with np.errstate(all="ignore"):  # figures that are not finite are left out
                figures = self.lesson.compare()
            note(f"step {self.step}, held out: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))
            self._log.write(self.step, "dev", figures)
            if figures[self.lesson.best_figure] > self.best:
                self.best = figures[self.lesson.best_figure]
                self._write_to(self.directory / BEST)
                self._save()  # or a killed run would forget how good the best is
        self._log.flush()
        draw_curves(self.directory / METRICS, self.directory / CURVES)

    def _place(self) -> dict[str, Any]:
        best = None if np.isinf(self.best) else self.best
        return dict(self.lesson.settings) | {"step": self.step, "total": self.lesson.total, "best": best}

    def _write_to(self, path: Path) -> None:
        if self.lesson.settle is not None:
            self.lesson.settle()
        save_checkpoint(path, self.lesson.variables, self._place())

    def _save(self) -> None:
        self._check_weights()
        self._log.flush()
        if (self.directory / DISTILLED).exists():
            with atomic_file(self.directory / BEFORE) as file:
                _link(self.directory / DISTILLED, file)
        self._write_to(self.directory / DISTILLED)
        self._clock.saved(self.step)

    def _check_weights(self) -> None:
        """Refuses to keep weights that are not finite."""
        wrong = not_finite(self.lesson.variables)
        if wrong:
            raise self._diverged(wrong)


def _link(path: Path, to: Path) -> None:
    """Gives a file a second name, or copies it where file systems have no such names."""
    to.unlink(missing_ok=True)
    try:
        to.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, to)


def optimizer_variables(network: keras.Model) -> Variables:
    """Returns the variables of a compiled network's optimizer, as a checkpoint names them."""
    named = named_variables(network, "network")
    return {name: variable for name, variable in named.items() if name.startswith("optimizer/")}


def estimate(network: keras.Model, batch_size: int, total: int, mapped_bytes: int) -> str:
    """Measures a few steps on made-up batches, and a checkpoint.

    Args:
        network: The compiled network. It is trained on noise: it must not be used any more.
        batch_size: Images a step.
        total: Steps of the whole run.
        mapped_bytes: Size of the files that a run maps into its memory.

    Returns:
        Lines of text.
    """
    inputs = noise(network.input, batch_size)
    targets = {name: noise(output, batch_size) for name, output in network.output.items()}
    seconds = []
    for _ in range(ESTIMATED_STEPS + 1):
        started = time.monotonic()
        network.train_on_batch(inputs, targets)
        seconds.append(time.monotonic() - started)
    sizes = {
        "weights": bytes_of(network.variables),
        "optimizer": bytes_of(network.optimizer.variables),
        "gradients": bytes_of(network.trainable_variables),
        "files that the system can take back": mapped_bytes,
    }
    serialized(named_variables(network, "network"), {})
    lines = [
        *needs_told({"encoder": network}, peak_bytes() + mapped_bytes, sizes, seconds),
        f"{total:,} steps, {duration_told(total * best_of(seconds))}, without the teacher's answers and comparisons",
    ]
    return "\n".join(lines)


def noise(tensor: Any, batch_size: int) -> Any:
    """Returns random numbers of a symbolic tensor's shape and type."""
    shape = (batch_size, *tensor.shape[1:])
    random = np.random.default_rng(0)
    if tensor.dtype == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    return random.random(shape, np.float32)
