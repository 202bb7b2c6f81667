"""Distillation: a small VGG-19 learns the features and the softened classes of a larger teacher.

Written in Keras 3 alone, so that it runs on any Keras backend (`KERAS_BACKEND=jax` on a GPU, for example).

Source:
    Hinton, Vinyals & Dean 2015 (arXiv:1503.02531) for the softened classes; Romero et al. 2014
    (arXiv:1412.6550) for matching features. Deviations: the teacher's targets are computed once for a fixed set of
    views of every photo, and the student's class layer starts from the teacher's.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from model.config import EncoderConfig
from model.encoder import build_encoder
from model.errors import DataError
from training.checkpoint import load_checkpoint, named_variables, read_progress, save_checkpoint
from training.config import DistillConfig
from training.datasets import find_photos
from training.progress import StopRequest, note, progress
from training.teacher import Targets, ahead, load_teacher

CHECKPOINT = "distill.safetensors"


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


def distill(
    directory: Path, folders: Sequence[Path], exclude: frozenset[str], teacher_weights: Path,
    encoder_config: EncoderConfig, config: DistillConfig, *, precision: str = "float32", checkpoint_steps: int = 200,
) -> bool:  # fmt: skip
    """Trains a student encoder, going on from the run directory's checkpoint where there is one.

    Args:
        directory: Run directory, for the photos, the teacher's answers and the checkpoint.
        folders: Directories of photos.
        exclude: File names to leave out.
        teacher_weights: Weights file of the teacher.
        encoder_config: Architecture of the student; `fc_units` and `classes` must be the teacher's.
        config: Options of the run.
        precision: Keras dtype policy, for example `mixed_bfloat16`.
        checkpoint_steps: Steps between two checkpoints.

    Returns:
        Whether training is complete; False after a requested stop.

    Raises:
        DataError: Photos or checkpoint do not fit.
    """
    targets = Targets(directory, find_photos(folders, exclude), teacher_weights, config)
    samples = targets.photos.shape[0] * config.views
    total = round(config.epochs * samples / config.batch_size)
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(precision)
    student = _compiled_student(encoder_config, config, targets, load_teacher(teacher_weights), total)
    settings: dict[str, object] = {
        "encoder": asdict(encoder_config),
        "distill": asdict(config),
        "targets": targets.key,
        "precision": precision,
    }
    checkpoint = directory / CHECKPOINT
    start = 0
    if checkpoint.exists():
        saved = load_checkpoint(checkpoint, named_variables(student, "encoder"))
        if {key: saved.get(key) for key in settings} != settings:
            raise DataError(f"{checkpoint}: expected the same photos, teacher and options; choose another directory")
        start = int(str(saved["step"]))
    done = saved_at = start
    with StopRequest() as stop:
        steps = progress(range(start, total), "distilling", total=total, initial=start, unit="step")
        for step, (images, answers) in zip(
            stop.until_requested(steps), ahead(targets.batch, range(start, total)), strict=False
        ):
            logs = student.train_on_batch(images, answers, return_dict=True)
            done = step + 1
            if step % 10 == 0:
                steps.set_postfix({name: f"{float(value):.3f}" for name, value in logs.items()}, refresh=False)
            if step % 100 == 0:
                student.reset_metrics()
            if done % checkpoint_steps == 0:
                save_checkpoint(
                    checkpoint, named_variables(student, "encoder"), settings | {"step": done, "total": total}
                )
                saved_at = done
        if done > saved_at:
            save_checkpoint(checkpoint, named_variables(student, "encoder"), settings | {"step": done, "total": total})
    return bool(done == total)


def _compiled_student(
    encoder_config: EncoderConfig, config: DistillConfig, targets: Targets, teacher: keras.Model, total: int
) -> keras.Model:
    feature_units, classes = targets.features.shape[-1], targets.logits.shape[-1]
    if (encoder_config.fc_units, encoder_config.classes) != (feature_units, classes):
        raise DataError(
            f"expected a student with fc_units={feature_units} and classes={classes} like its teacher, "
            f"received {encoder_config.fc_units} and {encoder_config.classes}"
        )
    student = build_encoder(encoder_config)
    student.get_layer("predictions").set_weights(teacher.classifier_weights)
    warmup = max(1, total // 50)
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-5, max(1, total - warmup), alpha=0.0, warmup_target=config.learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay, clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    variance = np.asarray(targets.features[:, 0], np.float32).var(axis=0)
    student.compile(
        optimizer,
        loss={"features": FeatureLoss(variance), "logits": SoftClassLoss(config.temperature)},
        loss_weights={"features": 1.0, "logits": config.class_weight},
        jit_compile=keras.backend.backend() == "jax",
    )
    return student


def load_student(directory: Path) -> tuple[keras.Model, EncoderConfig]:
    """Restores the encoder that a distillation run has trained so far, and notes where it is unfinished.

    Args:
        directory: The run directory.

    Returns:
        The encoder, with its batch norm, and its configuration.

    Raises:
        DataError: There is no checkpoint, or it is damaged.
    """
    checkpoint = directory / CHECKPOINT
    if not checkpoint.exists():
        raise DataError(
            f"{directory}: expected a distilled encoder ({CHECKPOINT}), found none; run `showtell-train distill`"
        )
    place = read_progress(checkpoint)
    try:
        config = EncoderConfig(**place["encoder"])
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{checkpoint}: expected a checkpoint of `distill`, received another; give its directory"
        ) from error
    if place["step"] < place.get("total", 0):
        note(f"{directory}: the encoder is unfinished, {place['step']} of {place['total']} steps")
    student = build_encoder(config)
    load_checkpoint(checkpoint, named_variables(student, "encoder"))
    return student, config
