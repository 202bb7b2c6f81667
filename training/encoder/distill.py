"""Distillation: a small VGG-19 learns the features, feature maps and softened classes of a larger teacher.

Written in Keras 3 alone, so that it runs on any Keras backend (`KERAS_BACKEND=jax` on a GPU, for example).

Source:
    Hinton, Vinyals & Dean 2015 (arXiv:1503.02531) for the softened classes; Romero et al. 2014 (arXiv:1412.6550) for
    matching features, and maps through a regressor that is thrown away; Beyer et al. 2021 (arXiv:2106.05237) for many
    hard views that both see alike. Deviations: the teacher's targets are computed once for a fixed set of views of
    every photo, maps are matched in their first principal components and together with the rest, not in a stage of
    their own, and the student's class layer starts from the teacher's.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from model.bundle import WEIGHTS, load_bundle
from model.config import EncoderConfig
from model.encoder import build_encoder
from model.errors import DataError
from training.config import DistillConfig
from training.data.ahead import ahead
from training.data.captioned import find_photos
from training.encoder.folding import unfold
from training.encoder.held_out import HeldOut
from training.encoder.sources import CHECKPOINT, load_student
from training.encoder.targets import Targets, targets_key
from training.encoder.teacher import MAP_SIDE, load_teacher
from training.loop.checkpoint import (
    Variables,
    differences,
    load_checkpoint,
    named_variables,
    read_progress,
    save_checkpoint,
)
from training.progress import StopRequest, note, progress
from training.provenance import key_of

HELD_OUT = "held_out.npy"

CALIBRATION_STEPS = 8
"""Batches that the statistics of a bundle's encoder are taken from."""

HINTED = "block5_conv4_relu"
"""Layer whose output the student's maps are regressed from: the last convolution's, in front of its pool."""


class FeatureLoss(keras.losses.Loss):  # type: ignore[misc]
    """Measures the squared error of features relative to the variance of each; 1 is as good as predicting the mean."""

    def __init__(self, variance: npt.NDArray[np.float32]) -> None:
        super().__init__(name="feature_loss")
        self.scale = (1.0 / np.maximum(variance, 1e-3)).astype(np.float32)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns one loss per image from teacher's (y_true) and student's (y_pred) features, shape (B, D)."""
        difference = keras.ops.cast(y_pred, "float32") - y_true
        return keras.ops.mean(keras.ops.square(difference) * self.scale, axis=-1)


class SoftClassLoss(keras.losses.Loss):  # type: ignore[misc]
    """Measures T² times the Kullback-Leibler divergence of the student's softened classes from the teacher's."""

    def __init__(self, temperature: float) -> None:
        super().__init__(name="soft_class_loss")
        self.temperature = temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns one loss per image from teacher's (y_true) and student's (y_pred) logits, shape (B, C)."""
        teacher = keras.ops.log_softmax(y_true / self.temperature)
        student = keras.ops.log_softmax(keras.ops.cast(y_pred, "float32") / self.temperature)
        return self.temperature**2 * keras.ops.sum(keras.ops.exp(teacher) * (teacher - student), axis=-1)


class Trainee:
    """Holds a student and what only its training needs: the regressor of the teacher's maps, losses and optimizer.

    Args:
        student: The encoder.
        config: Options of the run.
        variance: Variance of each of the teacher's features. Shape (D,).
        total: Steps of the whole run.

    Attributes:
        student: The encoder.
        network: The student with the output `maps` beside its own, (B, H, W, M) float32, compiled for training.
        variables: Everything that a checkpoint holds: the parts `encoder`, `regressor` and `optimizer`.
    """

    def __init__(
        self, student: keras.Model, config: DistillConfig, variance: npt.NDArray[np.float32], total: int
    ) -> None:
        regressor = keras.layers.Conv2D(config.map_components, 1, dtype="float32", name="regressor")
        maps = regressor(student.get_layer(HINTED).output)
        if maps.shape[1:3] != (MAP_SIDE, MAP_SIDE):
            maps = keras.layers.Resizing(MAP_SIDE, MAP_SIDE, dtype="float32")(maps)
        self.student, self.network = student, keras.Model(student.input, student.output | {"maps": maps})
        warmup = max(1, total // 50)
        schedule = keras.optimizers.schedules.CosineDecay(
            1e-5, max(1, total - warmup), alpha=0.0, warmup_target=config.learning_rate, warmup_steps=warmup
        )
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay, clipnorm=1.0)
        optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
        self.network.compile(
            optimizer,
            loss={
                "features": FeatureLoss(variance),
                "logits": SoftClassLoss(config.temperature),
                "maps": keras.losses.MeanSquaredError(),
            },
            loss_weights={"features": 1.0, "logits": config.class_weight, "maps": config.map_weight},
            jit_compile=keras.backend.backend() == "jax",
        )
        optimizer_part = {
            name: variable
            for name, variable in named_variables(self.network, "network").items()
            if name.startswith("optimizer/")
        }
        regressor_part = {f"regressor/{variable.path}": variable for variable in regressor.variables}
        self.variables: Variables = named_variables(student, "encoder") | regressor_part | optimizer_part

    def train_step(self, images: Any, targets: Any) -> dict[str, float]:
        """Learns from one batch; returns the mean losses since the metrics were last reset."""
        logs = self.network.train_on_batch(images, targets, return_dict=True)
        return {name: float(value) for name, value in logs.items()}


def distill(
    directory: Path, folders: Sequence[Path], exclude: frozenset[str], teacher_weights: Path,
    encoder_config: EncoderConfig, config: DistillConfig, *, start_from: Path | None = None,
    precision: str = "float32", checkpoint_steps: int = 200, held_out_steps: int = 500,
) -> bool:  # fmt: skip
    """Trains a student encoder, going on from the run directory's checkpoint where there is one.

    Args:
        directory: Run directory, for the photos, the teacher's answers and the checkpoint.
        folders: Directories of photos.
        exclude: File names to leave out of training; the first of them serve to compare student and teacher.
        teacher_weights: Weights file of the teacher.
        encoder_config: Architecture of the student; `fc_units` and `classes` must be the teacher's.
        config: Options of the run.
        start_from: Directory of an earlier run, or a bundle, whose encoder this one goes on from; None for a new one.
        precision: Keras dtype policy of the student, for example `mixed_bfloat16`.
        checkpoint_steps: Steps between two checkpoints.
        held_out_steps: Steps between two comparisons with the teacher on held-out photos.

    Returns:
        Whether training is complete; False after a requested stop.

    Raises:
        DataError: Photos, checkpoint or the earlier student do not fit.
    """
    photos, checkpoint = find_photos(folders, exclude), directory / CHECKPOINT
    settings: dict[str, object] = {
        "encoder": asdict(encoder_config),
        "distill": asdict(config),
        "targets": targets_key(photos, teacher_weights, config),
        "precision": precision,
        "start": None if start_from is None else _started_from(start_from, encoder_config),
    }
    _check_same(checkpoint, settings)  # before the answers of another run are replaced
    keras.config.set_dtype_policy("float32")
    targets = Targets(directory, photos, teacher_weights, config)
    if not targets.complete:
        return False
    teacher = load_teacher(teacher_weights)
    variance = np.asarray(targets.features[:, 0], np.float32).var(axis=0)
    unseen = sorted({photo for photo in find_photos(folders) if photo.name in exclude})
    held_out = HeldOut(directory / HELD_OUT, unseen, teacher, variance) if unseen else None
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(precision)
    total = round(config.epochs * len(photos) * config.views / config.batch_size)
    student = _new_student(encoder_config, teacher)
    if start_from is not None and not checkpoint.exists():
        _go_on_from(start_from, student, targets)
    trainee = Trainee(student, config, variance, total)
    done = saved_at = int(load_checkpoint(checkpoint, trainee.variables)["step"]) if checkpoint.exists() else 0
    with StopRequest() as stop:
        steps = progress(range(done, total), "distilling", total=total, initial=done, unit="step")
        for step, (images, answers) in zip(
            stop.until_requested(steps), ahead(targets.batch, range(done, total)), strict=False
        ):
            logs = trainee.train_step(images, answers)
            done = step + 1
            if step % 100 == 0:
                steps.set_postfix({name: f"{value:.3f}" for name, value in logs.items()}, refresh=False)
                trainee.network.reset_metrics()
            if held_out and (done % held_out_steps == 0 or done == total):
                note(f"step {done}, held out: {held_out.compared(trainee.student)}")
            if done % checkpoint_steps == 0 or done == total:
                save_checkpoint(checkpoint, trainee.variables, settings | {"step": done, "total": total})
                saved_at = done
    if done > saved_at:
        save_checkpoint(checkpoint, trainee.variables, settings | {"step": done, "total": total})
    return bool(done == total)


def _check_same(checkpoint: Path, settings: Mapping[str, object]) -> None:
    if not checkpoint.exists():
        return
    different = ", ".join(sorted(differences(read_progress(checkpoint), json.loads(json.dumps(settings)))))
    if different:
        raise DataError(
            f"{checkpoint}: expected the photos, teacher and options of this run, differs in {different}; "
            "give the same, or choose another directory"
        )


def _started_from(start: Path, expected: EncoderConfig) -> str:
    """Returns a hash of the weights of an earlier encoder, after a look at whether it is of this kind."""
    if (start / WEIGHTS).exists():
        file, found = start / WEIGHTS, load_bundle(start).config.encoder
        expected = replace(expected, batch_norm=False, residual=False, dropout=0.0)
    else:
        file, found = start / CHECKPOINT, load_student(start)[1]
    if found != expected:
        raise DataError(f"{start}: expected a student of the architecture {expected}, found {found}; give another")
    return key_of(file)


def _new_student(config: EncoderConfig, teacher: keras.Model) -> keras.Model:
    """Builds a student whose class layer is its teacher's."""
    features, classes = (teacher.output[name].shape[-1] for name in ("features", "logits"))
    if (config.fc_units, config.classes) != (features, classes):
        raise DataError(
            f"expected a student with fc_units={features} and classes={classes} like its teacher, "
            f"received {config.fc_units} and {config.classes}"
        )
    student = build_encoder(config)
    student.get_layer("predictions").set_weights(teacher.classifier_weights)
    return student


def _go_on_from(start: Path, student: keras.Model, targets: Targets) -> None:
    """Gives a student the weights of an earlier run's, or of a bundle's encoder."""
    if (start / WEIGHTS).exists():
        part = "encoder/"
        stored = load_bundle(start).weights.items()
        weights = {name.removeprefix(part): value for name, value in stored if name.startswith(part)}
        unfold(student, weights, np.concatenate([targets.batch(step)[0] for step in range(CALIBRATION_STEPS)]))
    else:
        load_checkpoint(start / CHECKPOINT, named_variables(student, "encoder"))
