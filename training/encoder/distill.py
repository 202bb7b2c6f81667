"""Distillation: a small VGG-19 learns the features, feature maps and softened classes of a larger teacher.

Written in Keras 3 alone, so that it runs on any Keras backend (`KERAS_BACKEND=jax` on a GPU, for example).

Source:
    Hinton, Vinyals & Dean 2015 (arXiv:1503.02531) for the softened classes; Romero et al. 2014 (arXiv:1412.6550) for
    matching features, and maps through a regressor that is thrown away; Beyer et al. 2021 (arXiv:2106.05237) for many
    hard views that both see alike. Deviations: the teacher's targets are computed once for a fixed set of views of
    every photo, maps are matched in their first principal components and together with the rest, not in a stage of
    their own, and the student's class layer starts from the teacher's.
"""

import math
from collections.abc import Sequence
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
from training.config import RUN_DEFAULTS, DistillConfig, RunConfig
from training.data.captioned import find_photos
from training.encoder.folding import unfold
from training.encoder.held_out import HeldOut
from training.encoder.sources import load_student
from training.encoder.targets import TEACHER_BATCH, Targets, targets_key
from training.encoder.teacher import MAP_SIDE, load_teacher
from training.loop.checkpoint import Variables, load_checkpoint, named_variables
from training.loop.directory import DISTILLED, restart
from training.loop.keras_run import KerasRun, Lesson, check_settings, estimate, noise, optimizer_variables
from training.provenance import key_of

HELD_OUT = "held_out.npy"

CALIBRATION_STEPS = 8
"""Batches from which batch norm takes its statistics when a bundle's encoder is trained further."""

HINTED = "block5_conv4_relu"
"""Layer of the student that predicts the teacher's maps: the last convolution, in front of its pool."""


class FeatureLoss(keras.losses.Loss):  # type: ignore[misc]
    """The squared error of features, each over its variance; predicting the mean costs 1."""

    def __init__(self, variance: npt.NDArray[np.float32]) -> None:
        super().__init__(name="feature_loss")
        self.scale = (1.0 / np.maximum(variance, 1e-3)).astype(np.float32)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns one loss per image from teacher's (y_true) and student's (y_pred) features, shape (B, D)."""
        difference = keras.ops.cast(y_pred, "float32") - y_true
        return keras.ops.mean(keras.ops.square(difference) * self.scale, axis=-1)


class SoftClassLoss(keras.losses.Loss):  # type: ignore[misc]
    """T² times the Kullback-Leibler divergence of the student's softened classes from the teacher's."""

    def __init__(self, temperature: float) -> None:
        super().__init__(name="soft_class_loss")
        self.temperature = temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns one loss per image from teacher's (y_true) and student's (y_pred) logits, shape (B, C)."""
        teacher = keras.ops.log_softmax(y_true / self.temperature)
        student = keras.ops.log_softmax(keras.ops.cast(y_pred, "float32") / self.temperature)
        return self.temperature**2 * keras.ops.sum(keras.ops.exp(teacher) * (teacher - student), axis=-1)


class Trainee:
    """A student with what only training needs: the regressor of the teacher's maps, losses and optimizer.

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
        self.student = student
        self.network = keras.Model(student.input, student.output | {"maps": maps})
        self.network.compile(
            adamw(config.learning_rate, config.weight_decay, total, clip_norm=1.0),
            loss={
                "features": FeatureLoss(variance),
                "logits": SoftClassLoss(config.temperature),
                "maps": keras.losses.MeanSquaredError(),
            },
            loss_weights={"features": 1.0, "logits": config.class_weight, "maps": config.map_weight},
            jit_compile=keras.backend.backend() == "jax",
        )
        regressor_part = {f"regressor/{variable.path}": variable for variable in regressor.variables}
        self.variables: Variables = {
            **named_variables(student, "encoder"), **regressor_part, **optimizer_variables(self.network)
        }  # fmt: skip


def adamw(learning_rate: float, weight_decay: float, total: int, clip_norm: float | None = None) -> Any:
    """Returns AdamW with a linear warm-up over 2 % of the steps, then a cosine to zero; kernels alone decay.

    Args:
        learning_rate: Highest rate.
        weight_decay: Decoupled weight decay.
        total: Steps of the whole run.
        clip_norm: Largest norm of each variable's gradient; None for no limit.
    """
    warmup = max(1, total // 50)
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-5, max(1, total - warmup), alpha=0.0, warmup_target=learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=weight_decay, clipnorm=clip_norm)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    return optimizer


def distill(
    directory: Path, folders: Sequence[Path], exclude: frozenset[str], teacher_source: Path,
    encoder_config: EncoderConfig, config: DistillConfig, *, start_from: Path | None = None,
    precision: str = "float32", anew: bool = False, run_config: RunConfig = RUN_DEFAULTS, held_out_steps: int = 500,
) -> bool:  # fmt: skip
    """Trains a student encoder, from the run directory's checkpoint on where there is one.

    Args:
        directory: Run directory, for the photos, the teacher's answers and the checkpoint.
        folders: Directories of photos.
        exclude: File names to leave out of training; the first of them serve to compare student and teacher.
        teacher_source: See `training.encoder.teacher.load_teacher`.
        encoder_config: Architecture of the student; `fc_units` and `classes` must be the teacher's.
        config: Options of the run.
        start_from: Directory of an earlier run, or a bundle, whose encoder is trained further; None for a new one.
        precision: Keras dtype policy of the student, for example `mixed_bfloat16`.
        anew: Whether what an earlier run has learned is removed; the teacher's answers stay.
        run_config: Intervals of checkpoints and figures; those of checkpoints hold for the teacher's batches too.
        held_out_steps: Steps between two comparisons with the teacher on held-out photos.

    Returns:
        Whether training is complete; False after a requested stop.

    Raises:
        DataError: Photos, checkpoint or the earlier student do not fit.
    """
    photos = find_photos(folders, exclude)
    settings = {
        "encoder": asdict(encoder_config),
        "distill": asdict(config),
        "targets": targets_key(photos, teacher_source, config),
        "precision": precision,
        "start": None if start_from is None else _started_from(start_from, encoder_config),
    }
    if anew:
        restart(directory)
    check_settings(directory, settings)  # before the answers of another run are replaced
    keras.config.set_dtype_policy("float32")
    targets = Targets(directory, photos, teacher_source, config, run_config)
    if not targets.complete:
        return False
    teacher = load_teacher(teacher_source)
    variance = np.asarray(targets.features[:, 0], np.float32).var(axis=0)
    unseen = sorted({photo for photo in find_photos(folders) if photo.name in exclude})
    held_out = HeldOut(directory / HELD_OUT, unseen, teacher, variance) if unseen else None
    trainee = _new_trainee(encoder_config, config, teacher, variance, len(photos), precision)
    if start_from is not None and not (directory / DISTILLED).exists():
        _go_on_from(start_from, trainee.student, targets)
    lesson = Lesson(
        label="distilling",
        network=trainee.network,
        variables=trainee.variables,
        batch=targets.batch,
        total=_total_steps(config, len(photos)),
        learning_rate=config.learning_rate,
        settings=settings,
        compare=None if held_out is None else lambda: held_out.compared(trainee.student)._asdict(),
        best_figure="correlation",
    )
    return KerasRun(directory, lesson, run_config, compare_steps=held_out_steps).train()


def estimate_distillation(
    folders: Sequence[Path], exclude: frozenset[str], teacher_source: Path, encoder_config: EncoderConfig,
    config: DistillConfig, *, precision: str = "float32",
) -> str:  # fmt: skip
    """Measures a few steps on made-up images and adds the memory up; the arguments are those of `distill`.

    Returns:
        Lines of text.

    Raises:
        DataError: There is no photo, or the student does not fit its teacher.
    """
    found = find_photos(folders, exclude)
    photos = len(found)
    teacher = load_teacher(teacher_source)
    teacher.predict_on_batch(noise(teacher.input, min(TEACHER_BATCH, config.batch_size)))
    variance = np.ones(teacher.output["features"].shape[-1], np.float32)
    trainee = _new_trainee(encoder_config, config, teacher, variance, photos, precision)
    answers = 2 * sum(teacher.output[name].shape[-1] for name in ("features", "logits"))  # float16
    answers += MAP_SIDE**2 * config.map_components  # int8
    mapped = len(set(found)) * math.prod(teacher.input.shape[1:]) + photos * config.views * answers
    return estimate(trainee.network, config.batch_size, _total_steps(config, photos), mapped)


def _total_steps(config: DistillConfig, photos: int) -> int:
    return round(config.epochs * photos * config.views / config.batch_size)


def _new_trainee(
    encoder_config: EncoderConfig, config: DistillConfig, teacher: keras.Model, variance: npt.NDArray[np.float32],
    photos: int, precision: str,
) -> Trainee:  # fmt: skip
    """Builds a student for a number of photos, in the run's arithmetic."""
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(precision)
    student = _new_student(encoder_config, teacher)
    return Trainee(student, config, variance, _total_steps(config, photos))


def _started_from(start: Path, expected: EncoderConfig) -> str:
    """Checks the architecture of an earlier encoder; returns a hash of its weights."""
    if (start / WEIGHTS).exists():
        file = start / WEIGHTS
        found = load_bundle(start).config.encoder
        expected = replace(expected, batch_norm=False, residual=False, dropout=0.0)
    else:
        file = start / DISTILLED
        found = load_student(start)[1]
    if found != expected:
        raise DataError(
            f"{start}: expected a student of the architecture {expected}, found {found}; give another run or bundle"
        )
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
    """Loads the weights of an earlier run's student, or of a bundle's encoder, into a student."""
    if (start / WEIGHTS).exists():
        part = "encoder/"
        stored = load_bundle(start).weights.items()
        weights = {name.removeprefix(part): value for name, value in stored if name.startswith(part)}
        unfold(student, weights, np.concatenate([targets.batch(step)[0] for step in range(CALIBRATION_STEPS)]))
    else:
        load_checkpoint(start / DISTILLED, named_variables(student, "encoder"))
