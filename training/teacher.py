"""The teacher of a distillation and its answers: every view of every photo, computed once and kept on disk."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import keras
import numpy as np
import numpy.typing as npt
from PIL import Image

from model.atomic import atomic_file
from model.config import IMAGE_PIXELS
from model.errors import DataError, ImageError
from model.image import read_image
from training.config import DistillConfig
from training.progress import progress

K = TypeVar("K")
V = TypeVar("V")

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
        key: What they were computed from: photos, teacher and crops.
        photos: Shape (P, 224, 224, 3), uint8.
        features: Teacher's features. Shape (P, views, 1280), float16.
        logits: Teacher's class scores. Shape (P, views, 1000), float16.
    """

    def __init__(self, directory: Path, paths: Sequence[Path], teacher_weights: Path, config: DistillConfig) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.config = config
        names = "\n".join(f"{path.name} {path.stat().st_size}" for path in paths).encode()
        crops = [config.views, config.smallest_crop, config.seed]
        teacher = hashlib.sha256(teacher_weights.read_bytes()).hexdigest()
        self.key = {
            "photos": len(paths),
            "names": hashlib.sha256(names).hexdigest(),
            "crops": crops,
            "teacher": teacher,
        }
        stamp = directory / "targets.json"
        if not stamp.exists() or json.loads(stamp.read_text()) != self.key:
            stamp.unlink(missing_ok=True)
            self._read(directory / "photos.npy", paths)
            self._teach(directory, teacher_weights)
            with atomic_file(stamp) as file:
                file.write_text(json.dumps(self.key))
        self._kept_order = (-1, np.empty(0, np.int64))
        self.photos = np.load(directory / "photos.npy", mmap_mode="r")
        self.features = np.load(directory / "features.npy", mmap_mode="r")
        self.logits = np.load(directory / "logits.npy", mmap_mode="r")

    def _read(self, path: Path, paths: Sequence[Path]) -> None:
        photos = np.lib.format.open_memmap(path, "w+", np.uint8, (len(paths), IMAGE_PIXELS, IMAGE_PIXELS, 3))
        unreadable = []
        for row, photo in enumerate(progress(paths, "reading photos", unit="photo")):
            try:
                photos[row] = read_image(photo.read_bytes()).pixels
            except (OSError, ImageError) as error:
                unreadable.append(f"{photo}: {error}")
        photos.flush()
        if unreadable:
            some = "\n".join(unreadable[:10])
            raise DataError(
                f"expected photos that can be read, {len(unreadable)} cannot; exclude or remove them:\n{some}"
            )

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

        for chunk, batch in zip(
            progress(chunks, "asking the teacher", unit="batch"), ahead(images, chunks), strict=True
        ):
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
        """Returns the epoch's order of all views; the last one asked for is kept."""
        if self._kept_order[0] != epoch:
            samples = self.photos.shape[0] * self.config.views
            self._kept_order = (epoch, np.random.default_rng((self.config.seed, epoch)).permutation(samples))
        return self._kept_order[1]


def ahead(function: Callable[[K], V], keys: Sequence[K]) -> Iterator[V]:
    """Yields function(key) for every key, computing the next one in a thread while the current one is used."""
    with ThreadPoolExecutor(1) as pool:
        upcoming: list[Future[V]] = []
        for key in keys:
            upcoming.append(pool.submit(function, key))
            if len(upcoming) > 1:
                yield upcoming.pop(0).result()
        yield from (future.result() for future in upcoming)
