"""Distillation: a small VGG-19 learns the features and the softened classes of a larger teacher.

Written in Keras 3 alone, so that it runs on any Keras backend (`KERAS_BACKEND=jax` on a GPU, for example).

Source:
    Hinton, Vinyals & Dean 2015 (arXiv:1503.02531) for the softened classes; Romero et al. 2014
    (arXiv:1412.6550) for matching features. Deviations: the teacher's targets are computed once for a fixed set of
    views of every photo, and the student's class layer starts from the teacher's.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np
import numpy.typing as npt
from PIL import Image

from model.atomic import atomic_file
from model.config import IMAGE_PIXELS, EncoderConfig
from model.encoder import build_encoder
from model.errors import DataError, ImageError
from model.image import read_image
from training.config import DistillConfig
from training.checkpoint import load_checkpoint, read_progress, save_checkpoint
from training.datasets import find_photos
from training.progress import StopRequest, progress

K = TypeVar("K")
V = TypeVar("V")

CHECKPOINT = "distill.safetensors"
TEACHER_BATCH = 64


def load_teacher(weights: Path) -> keras.Model:
    """Builds ImageNet MobileNetV2 and loads its weights.

    Args:
        weights: A Keras `.weights.h5` file for `keras.applications.MobileNetV2`.

    Returns:
        A frozen model from images (B, 224, 224, 3) uint8 to `features` (B, 1280), at least 0, and `logits` (B, 1000).

    Source:
        Sandler et al. 2018 (arXiv:1801.04381).
    """
    network = keras.applications.MobileNetV2(weights=None, classifier_activation=None)
    network.load_weights(weights)
    network.trainable = False
    images = keras.Input((IMAGE_PIXELS, IMAGE_PIXELS, 3), dtype="uint8")
    average, classifier = network.layers[-2], network.layers[-1]
    inner = keras.Model(network.input, {"features": average.output, "logits": classifier.output})
    teacher = keras.Model(images, inner(keras.layers.Rescaling(1 / 127.5, offset=-1.0)(images)))
    teacher.classifier_weights = classifier.get_weights()
    return teacher


def view_of(photo: npt.NDArray[np.uint8], row: int, view: int, config: DistillConfig) -> npt.NDArray[np.uint8]:
    """Cuts one view out of a photo, the same one every time it is asked for.

    Args:
        photo: Shape (224, 224, 3), uint8.
        row: Position of the photo in the data set; seeds the crop.
        view: 0 is the whole photo; others are random crops, half of them mirrored.
        config: Smallest crop and seed.

    Returns:
        The crop stretched back to shape (224, 224, 3), uint8.
    """
    if view == 0:
        return photo
    random = np.random.default_rng((config.seed, row, view))
    area = random.uniform(config.smallest_crop, 1.0)
    aspect = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
    width, height = (min(1.0, float(side)) * IMAGE_PIXELS for side in (np.sqrt(area * aspect), np.sqrt(area / aspect)))
    left, top = random.uniform(0, IMAGE_PIXELS - width), random.uniform(0, IMAGE_PIXELS - height)
    size = (IMAGE_PIXELS, IMAGE_PIXELS)
    crop = Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))
    pixels = np.asarray(crop)
    return pixels[:, ::-1] if random.random() < 0.5 else pixels


class Targets:
    """Holds the photos and the teacher's answers for every view, on disk, computed once.

    Attributes:
        photos: Shape (P, 224, 224, 3), uint8.
        features: Teacher's features. Shape (P, views, 1280), float16.
        logits: Teacher's class scores. Shape (P, views, 1000), float16.
    """

    def __init__(self, directory: Path, paths: Sequence[Path], teacher_weights: Path, config: DistillConfig) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.config = config
        names = "\n".join(path.name for path in paths).encode()
        crops = [config.views, config.smallest_crop, config.seed]
        key = {"photos": len(paths), "names": hashlib.sha256(names).hexdigest(), "crops": crops}
        stamp = directory / "targets.json"
        if not stamp.exists() or json.loads(stamp.read_text()) != key:
            stamp.unlink(missing_ok=True)
            self._read(directory / "photos.npy", paths)
            self._teach(directory, teacher_weights)
            with atomic_file(stamp) as file:
                file.write_text(json.dumps(key))
        self.photos = np.load(directory / "photos.npy", mmap_mode="r")
        self.features = np.load(directory / "features.npy", mmap_mode="r")
        self.logits = np.load(directory / "logits.npy", mmap_mode="r")

    def _read(self, path: Path, paths: Sequence[Path]) -> None:
        photos = np.lib.format.open_memmap(path, "w+", np.uint8, (len(paths), IMAGE_PIXELS, IMAGE_PIXELS, 3))
        for row, photo in enumerate(progress(paths, "reading photos", unit="photo")):
            try:
                photos[row] = read_image(photo.read_bytes()).pixels
            except ImageError as error:
                raise DataError(f"{photo}: {error}; remove the file or name it in the exclude list") from error
        photos.flush()

    def _teach(self, directory: Path, teacher_weights: Path) -> None:
        teacher = load_teacher(teacher_weights)
        photos = np.load(directory / "photos.npy", mmap_mode="r")
        shapes = {name: (len(photos), self.config.views, output.shape[-1]) for name, output in teacher.output.items()}
        answers = {
            name: np.lib.format.open_memmap(directory / f"{name}.npy", "w+", np.float16, shape)
            for name, shape in shapes.items()
        }
        rows = [(row, view) for row in range(len(photos)) for view in range(self.config.views)]
        chunks = [rows[start : start + TEACHER_BATCH] for start in range(0, len(rows), TEACHER_BATCH)]

        def images(chunk: list[tuple[int, int]]) -> npt.NDArray[np.uint8]:
            return np.stack([view_of(photos[row], row, view, self.config) for row, view in chunk])

        for chunk, batch in zip(progress(chunks, "asking the teacher", unit="batch"), _ahead(images, chunks), strict=True):
            outputs = teacher.predict_on_batch(batch)
            positions = tuple(np.array(chunk).T)
            for name, output in outputs.items():
                answers[name][positions] = output
        for answer in answers.values():
            answer.flush()

    def batch(self, step: int) -> tuple[npt.NDArray[np.uint8], dict[str, npt.NDArray[np.float32]]]:
        """Returns the images and targets of one step, a function of the step and the seed alone.

        Args:
            step: Number of the step, from 0.

        Returns:
            images: Mirrored at random. Shape (B, 224, 224, 3), uint8.
            targets: `features` (B, 1280) and `logits` (B, 1000), float32.
        """
        samples = self.photos.shape[0] * self.config.views
        position = step * self.config.batch_size
        index = np.arange(position, position + self.config.batch_size)
        chosen = np.array([self._order(int(p))[int(i)] for p, i in zip(index // samples, index % samples, strict=True)])
        rows, views = chosen // self.config.views, chosen % self.config.views
        flips = np.random.default_rng((self.config.seed, step)).random(len(rows)) < 0.5
        images = np.stack([
            view_of(self.photos[row], int(row), int(view), self.config)[:, :: -1 if flip else 1]
            for row, view, flip in zip(rows, views, flips, strict=True)
        ])  # fmt: skip
        targets = {name: np.asarray(getattr(self, name)[rows, views], np.float32) for name in ("features", "logits")}
        return images, targets

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        if getattr(self, "_order_epoch", None) != epoch:
            samples = self.photos.shape[0] * self.config.views
            self._order_epoch, self._order_rows = epoch, np.random.default_rng((self.config.seed, epoch)).permutation(samples)
        return self._order_rows


class FeatureLoss(keras.losses.Loss):  # type: ignore[misc]
    """Measures the squared error of features relative to the variance of each over the data; 1 is 'predicts the mean'."""

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
        directory: Run directory: caches, checkpoint and `encoder.json`.
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
    settings: dict[str, object] = {"encoder": asdict(encoder_config), "distill": asdict(config)}
    checkpoint = directory / CHECKPOINT
    start = 0
    if checkpoint.exists():
        saved = load_checkpoint(checkpoint, student)
        if {key: saved[key] for key in settings} != settings:
            raise DataError(f"{checkpoint}: expected the options of this run; give the same options or another directory")
        start = int(str(saved["step"]))
    done = saved_at = start
    with StopRequest() as stop:
        steps = progress(range(start, total), "distilling", total=total, initial=start, unit="step")
        for step, (images, answers) in zip(stop.until_requested(steps), _ahead(targets.batch, range(start, total)), strict=False):
            logs = student.train_on_batch(images, answers, return_dict=True)
            done = step + 1
            if step % 10 == 0:
                steps.set_postfix({name: f"{float(value):.3f}" for name, value in logs.items()}, refresh=False)
            if step % 100 == 0:
                student.reset_metrics()
            if done % checkpoint_steps == 0:
                save_checkpoint(checkpoint, student, settings | {"step": done})
                saved_at = done
        if done > saved_at:
            save_checkpoint(checkpoint, student, settings | {"step": done})
    return done >= total


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


def _ahead(function: Callable[[K], V], keys: Sequence[K]) -> Iterator[V]:
    """Yields function(key) for every key, computing the next one while the current one is used."""
    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(function, keys[0]) if keys else None
        for position in range(len(keys)):
            assert upcoming is not None
            current = upcoming
            upcoming = pool.submit(function, keys[position + 1]) if position + 1 < len(keys) else None
            yield current.result()


def load_student(directory: Path) -> tuple[keras.Model, EncoderConfig]:
    """Restores the encoder that a distillation run has trained so far.

    Args:
        directory: The run directory.

    Returns:
        The encoder, with its batch norm, and its configuration.

    Raises:
        DataError: There is no checkpoint, or it is damaged.
    """
    checkpoint = directory / CHECKPOINT
    if not checkpoint.exists():
        raise DataError(f"{directory}: expected a distilled encoder ({CHECKPOINT}), found none; run `showtell-train distill`")
    config = EncoderConfig(**read_progress(checkpoint)["encoder"])
    student = build_encoder(config)
    load_checkpoint(checkpoint, student)
    return student, config
