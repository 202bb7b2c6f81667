"""A training run and its directory: the loop, checkpoints, figures, and continuing after a stop."""

import json
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from model.errors import DataError
from training.config import RunConfig
from training.data.damage import damaged_records
from training.data.feed import Feed
from training.loop.checkpoint import (
    BEST,
    CheckpointClock,
    CheckpointStore,
    differences,
    named_variables,
    read_progress,
    save_checkpoint,
)
from training.loop.curves import draw_curves
from training.loop.directory import CHECKPOINTS, CURVES, METRICS
from training.loop.divergence import LARGEST_DEV_LOSS, advice, diverged, has_exploded, not_finite
from training.loop.optimizer import Optimizer
from training.loop.step import Stepper, StepResult
from training.loop.summaries import Summaries
from training.loop.task import Task
from training.progress import StopRequest, note, progress


class Run:
    """A training run in its directory; it continues from the directory's last checkpoint if there is one.

    The directory holds `checkpoints/`, `best.safetensors`, `metrics.jsonl`, `curves.svg` and `tensorboard/`.

    Args:
        directory: The run directory; on storage that all workers see, where there are several.
        task: What is trained. Its networks were made in the scope of its replicas' strategy.
        config: Options of checkpoints and figures.

    Raises:
        DataError: The directory's checkpoints are of other options or another network, or all damaged.
    """

    def __init__(self, directory: Path, task: Task, config: RunConfig) -> None:
        self.directory = directory
        self.task = task
        self.spec = task.spec
        self.replicas = task.spec.replicas
        self.config = config
        with self.replicas.strategy.scope():
            self.optimizer = Optimizer(self.spec.trainable, self.spec.optimizer, self.spec.multipliers)
        self.settings = dict(self.spec.settings) | {"precision": self.replicas.config.precision}
        self.variables = dict(self.optimizer.slots)
        for part, network in self.spec.networks.items():
            self.variables |= named_variables(network, part)
        self.store = CheckpointStore(directory / CHECKPOINTS, config.keep)
        self.total = self.spec.total_steps
        self.step = 0
        self.best = float("-inf")
        self._stepper: Stepper | None = None
        self._loss_scale: dict[str, Any] = {}
        self._restore()
        self._check_workers()
        self._clock = CheckpointClock(config, self.step)
        self._summaries = Summaries(directory, self.step, active=self.replicas.chief)

    def train(self) -> bool:
        """Trains to the end.

        Returns:
            Whether training is complete; False after a requested stop.

        Raises:
            DataError: The run has diverged, a batch could not be read, or another worker has gone; the last good
                checkpoint stays.
        """
        with StopRequest() as stop, self._summaries, self.replicas.peers_named():
            while self.step < self.total:
                batches = self._batches()
                # What must be on disk is there before the feed ends, which may take long.
                with Feed(batches) as feed:
                    stopped = not self._train_epoch(feed, self._stepper_for(batches), stop)
                    if self.step % self.spec.steps_per_epoch:
                        self._save()
                    else:
                        # Even after a stop request: the next call begins with the next epoch.
                        self._finish_epoch()
                if stopped:
                    return self.step == self.total
        return True

    def _batches(self) -> Any:
        """Returns the rest of the present epoch."""
        epoch, within = divmod(self.step, self.spec.steps_per_epoch)
        return self.replicas.distribute(lambda share: self.task.epoch_batches(epoch, within, share))

    def _train_epoch(self, feed: Feed, stepper: Stepper, stop: StopRequest) -> bool:
        steps = self.spec.steps_per_epoch
        epoch, within = divmod(self.step, steps)
        bar = progress(
            range(within, steps), f"epoch {epoch + 1}/{self.spec.epochs}", total=steps, initial=within, unit="step"
        )
        with bar:
            for number in bar:
                started = time.monotonic()
                batch = self._next(feed)
                waited = time.monotonic() - started
                histograms = self._due(self.config.histogram_steps)
                result = self._step(stepper, batch, stop=stop.requested, gradients=histograms)
                self.step += 1
                took = time.monotonic() - started
                self._note_figures(result.figures | {"step_seconds": took, "input_wait_seconds": waited})
                if histograms:
                    self._summaries.histograms(self.step, self.optimizer.variables, result.gradients)
                if number == within:
                    self._summaries.graph(stepper.function)
                bar.set_postfix({"loss": f"{self._summaries.recent('loss'):.3f}"}, refresh=False)
                if result.stopping > 0:
                    return False
                if self.step % steps and self._clock.due(self.step):
                    self._save()
        return True

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def _note_figures(self, figures: Mapping[str, float]) -> None:
        if np.isfinite(figures["gradient_norm"]):  # not after an overflow of float16
            # An epoch always leaves a line, so that there is something to draw.
            write = self._due(self.config.summary_steps) or self._due(self.spec.steps_per_epoch)
            self._summaries.train(self.step, figures, write=write)

    def _next(self, feed: Feed) -> Any:
        try:
            with self.replicas.peers_named():
                return next(feed)
        except StopIteration:
            raise DataError(
                f"expected {self.spec.steps_per_epoch} batches an epoch, the data ended at step {self.step}"
            ) from None
        except tf.errors.OpError as error:
            raise damaged_records(self.spec.records, "train", error) from error

    def _step(self, stepper: Stepper, batch: Any, **options: Any) -> StepResult:
        rate = self.spec.optimizer.rate(self.step, self.total)
        try:
            result = stepper.step(batch, self.step, rate, **options)
        except tf.errors.ResourceExhaustedError as error:
            raise DataError(
                f"step {self.step}: expected memory for the batch, found too little; give a smaller --batch-size "
                f"(--estimate says what it needs): {error.message[:200]}"
            ) from error
        overflow = result.finite and not np.isfinite(result.figures["gradient_norm"])
        if not result.finite or (not overflow and has_exploded(result.figures)):
            raise self._diverged(result.figures)
        if self._clock.saved_at == self.step and self.replicas.chief:
            self.store.confirm()
        return result._replace(figures=result.figures | {"learning_rate": rate})

    def _stepper_for(self, batches: Any) -> Stepper:
        if self._stepper is None:
            self._stepper = Stepper(
                self.replicas, self.task.loss, self.optimizer, batches.element_spec, self._loss_scale
            )
        return self._stepper

    def _diverged(self, found: Mapping[str, float]) -> DataError:
        """Rejects the checkpoint of the present weights, if there is one, and returns the error that ends the run."""
        last = self.store.reject(self.step) if self.replicas.chief else next(self.store.newest_first(), None)
        optimizer = self.spec.optimizer
        options = advice(
            optimizer.learning_rate,
            self.replicas.config.precision,
            clip_norm=optimizer.clip_norm,
            encoder_rate=bool(self.spec.multipliers),
        )
        return diverged(self.step, found, options, last)

    def _check_weights(self) -> None:
        """Refuses to keep weights that are not finite."""
        wrong = not_finite(self.variables)
        if wrong:
            raise self._diverged(wrong)

    def _finish_epoch(self) -> None:
        self._check_weights()
        with self.optimizer.averaged():
            improved = self._score() if self.spec.best_figure is not None else True
            if improved and self.replicas.chief:
                save_checkpoint(self.directory / BEST, self.variables, self._place())
        self._save()
        if self.replicas.chief:
            self.store.confirm()
            draw_curves(self.directory / METRICS, self.directory / CURVES)

    def _score(self) -> bool:
        """Scores dev; returns whether this is the best so far."""
        figures = self.task.evaluate()
        if has_exploded(figures, LARGEST_DEV_LOSS):
            raise self._diverged({"loss": figures["loss"]})
        epoch = self.step // self.spec.steps_per_epoch
        note(f"epoch {epoch}: " + ", ".join(f"{name} {value:.3g}" for name, value in figures.items()))
        self._summaries.dev(self.step, {"epoch": epoch} | figures, self.task.pictures())
        found = figures[str(self.spec.best_figure)]
        improved = found > self.best
        self.best = max(self.best, found)
        return improved

    def _place(self) -> dict[str, Any]:
        state = {} if self._stepper is None else self._stepper.loss_scale.state()
        best = None if np.isinf(self.best) else self.best
        return self.settings | {"step": self.step, "total": self.total, "best": best, "loss_scale": state}

    def _save(self) -> None:
        self._check_weights()
        self._summaries.flush()
        if self.replicas.chief:
            self.store.save(self.step, self.variables, self._place())
        self._clock.saved(self.step)

    def _check_settings(self) -> None:
        """Refuses other options before a variable is restored, since they may describe another network."""
        for path in self.store.newest_first():
            try:
                saved = read_progress(path, whole=True)
            except DataError:
                continue  # damaged: `restore` reports it
            different = sorted(differences(saved, json.loads(json.dumps(self.settings))))
            if different:
                raise DataError(
                    f"{self.directory}: expected the run that is in this directory, differs in {', '.join(different)}; "
                    "give the same data and options, another directory, or --restart"
                )
            return

    def _check_workers(self) -> None:
        text = json.dumps([self.settings, self.step, self.total], sort_keys=True)
        if len(set(self.replicas.gathered(zlib.crc32(text.encode())))) > 1:
            raise DataError(
                f"{self.directory}: expected all workers to continue with the same step, data and options; "
                "give them the same command, and a directory on storage that all see"
            )

    def _restore(self) -> None:
        self._check_settings()
        saved = self.store.restore(self.variables)
        if saved is None:
            return
        self.step = int(saved["step"])
        self.best = float("-inf") if saved["best"] is None else float(saved["best"])
        self._loss_scale = saved["loss_scale"]
        note(f"continuing from step {self.step} of {self.total}")


def train_task(directory: Path, task: Task, config: RunConfig) -> bool:
    """Trains a task in a run directory, from the last checkpoint on if there is one.

    Args:
        directory: Run directory; see `Run` for what it holds, beside the task's description.
        task: What is trained.
        config: Options of checkpoints and figures.

    Returns:
        Whether training is complete; False after a requested stop.

    Raises:
        DataError: The directory holds another run.
    """
    run = Run(directory, task, config)
    if task.spec.replicas.chief:
        task.describe(directory)
        if task.spec.best_figure is None:
            note(
                f"{task.spec.records} have no split dev: nothing is scored, and the last checkpoint is kept as the best"
            )
    return run.train()
