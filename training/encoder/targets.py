"""The teacher's answers to every view of every photo: computed once, kept on disk, read in batches."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from model.atomic import atomic_file
from model.manifest import sha256_of
from training.config import RUN_DEFAULTS, DistillConfig, RunConfig
from training.data.ahead import ahead
from training.encoder.teacher import MAP_SIDE, Projection, load_teacher, teacher_file
from training.encoder.views import Photos, Pixels, read_photos, view_of
from training.loop.checkpoint import CheckpointClock
from training.progress import StopRequest, note, progress

View = tuple[int, int]

TEACHER_BATCH = 64
"""Most views that the teacher sees at once; fewer where a step of the run has fewer."""
FITTED_VIEWS = 2048
"""Views whose maps the projection is fitted on, 49 positions each."""

STAMP = "targets.json"
PHOTOS = "photos.npy"
PROJECTION = "projection.npz"


def targets_key(paths: Sequence[Path], teacher: Path, config: DistillConfig) -> dict[str, object]:
    """Returns the inputs of the teacher's answers, JSON values only: photos, views, teacher."""
    names = "\n".join(f"{path.name} {path.stat().st_size}" for path in paths).encode()
    return {
        "photos": len(paths),
        "names": hashlib.sha256(names).hexdigest(),
        "views": [config.views, config.smallest_crop, config.seed],
        "components": config.map_components,
        "teacher": sha256_of(teacher_file(teacher)),
    }


class Targets:
    """The photos and the teacher's answers to every view of them, on disk.

    The constructor computes missing answers, and continues where an earlier call was stopped.

    Args:
        directory: Where they lie.
        paths: The photos. One that is named twice counts twice, each time with its own views.
        teacher: See `training.encoder.teacher.load_teacher`.
        config: Options of the run.
        run_config: Most batches of the teacher, and minutes, between two saves of its progress.

    Attributes:
        complete: Whether all answers are there; False after a requested stop.
        photos: The photos, P rows.
        features: Teacher's features. Shape (P, views, 1280), float16.
        logits: Teacher's class scores. Shape (P, views, 1000), float16.
        maps: Codes of the teacher's projected last feature map. Shape (P, views, 7, 7, M), int8.
        projection: The meaning of the codes.

    Raises:
        DataError: A photo cannot be read.
    """

    def __init__(
        self, directory: Path, paths: Sequence[Path], teacher: Path, config: DistillConfig,
        run_config: RunConfig = RUN_DEFAULTS,
    ) -> None:  # fmt: skip
        directory.mkdir(parents=True, exist_ok=True)
        self.config = config
        self._run_config = run_config
        self._at_once = min(TEACHER_BATCH, config.batch_size)
        self.directory = directory
        self._key = targets_key(paths, teacher, config)
        distinct = {path: place for place, path in enumerate(dict.fromkeys(paths))}
        places = np.array([distinct[path] for path in paths])
        done = self._answered()
        if done is None:
            (directory / STAMP).unlink(missing_ok=True)
            read_photos(directory / PHOTOS, list(distinct))
        self.photos = Photos(np.load(directory / PHOTOS, mmap_mode="r"), places)
        views = [(row, view) for row in range(len(places)) for view in range(config.views)]
        if done is None or done < len(views):
            done = self._ask(load_teacher(teacher), views, done)
        self.complete = done == len(views)
        self.projection = Projection.load(directory / PROJECTION)
        answers = {name: np.load(directory / f"{name}.npy", mmap_mode="r") for name in ("features", "logits", "maps")}
        self.features = answers["features"]
        self.logits = answers["logits"]
        self.maps = answers["maps"]
        self._kept_order = (-1, np.empty(0, np.int64))

    def _answered(self) -> int | None:
        """Returns the number of views that an earlier call finished; None if it had other photos or options."""
        stamp = self.directory / STAMP
        written = json.loads(stamp.read_text()) if stamp.exists() else {}
        return int(written["answered"]) if written.get("key") == self._key else None

    def _ask(self, teacher: keras.Model, views: Sequence[View], done: int | None) -> int:
        """Computes the answers after the first `done`, or all of them with a new projection; returns their number."""
        if done is None:
            self._fit(teacher, views)
            self._open({name: output.shape[-1] for name, output in teacher.output.items()})
            self._stamp(done := 0)
        note(f"computing the teacher's answers to {len(views) - done} of {len(views)} views")
        projection = Projection.load(self.directory / PROJECTION)
        files = {name: np.load(self.directory / f"{name}.npy", mmap_mode="r+") for name in teacher.output}
        chunks = _cut(views[done:], self._at_once)
        clock = CheckpointClock(self._run_config, 0)
        bar = progress(chunks, "teacher", unit="batch")
        with StopRequest() as stop:
            batches = zip(stop.until_requested(bar), ahead(self._images, chunks), strict=False)
            for number, (chunk, images) in enumerate(batches, start=1):
                answers = _answers(teacher, images)
                rows = tuple(np.array(chunk).T)
                files["maps"][rows] = projection.codes(answers["maps"])
                files["features"][rows] = answers["features"]
                files["logits"][rows] = answers["logits"]
                done += len(chunk)
                if clock.due(number):
                    self._keep(files, done)
                    clock.saved(number)
        self._keep(files, done)
        return done

    def _fit(self, teacher: keras.Model, views: Sequence[View]) -> None:
        random = np.random.default_rng(self.config.seed)
        chosen = [views[i] for i in random.permutation(len(views))[:FITTED_VIEWS]]
        chunks = _cut(chosen, self._at_once)
        maps = (_answers(teacher, images)["maps"] for images in ahead(self._images, chunks))
        bar = progress(maps, "finding the principal components", total=len(chunks), unit="batch")
        Projection.fitted(bar, self.config.map_components).save(self.directory / PROJECTION)

    def _open(self, units: Mapping[str, int]) -> None:
        """Makes files for the answers to all views."""
        rows = (len(self.photos), self.config.views)
        for name in ("features", "logits"):
            np.lib.format.open_memmap(self.directory / f"{name}.npy", "w+", np.float16, (*rows, units[name]))
        shape = (*rows, MAP_SIDE, MAP_SIDE, self.config.map_components)
        np.lib.format.open_memmap(self.directory / "maps.npy", "w+", np.int8, shape)

    def _keep(self, files: Mapping[str, "np.memmap[Any, Any]"], answered: int) -> None:
        for file in files.values():
            file.flush()
        self._stamp(answered)

    def _stamp(self, answered: int) -> None:
        with atomic_file(self.directory / STAMP) as file:
            file.write_text(json.dumps({"key": self._key, "answered": answered}))

    def _images(self, views: Sequence[View]) -> Pixels:
        return np.stack([view_of(self.photos, row, view, self.config) for row, view in views])

    def batch(self, step: int) -> tuple[Pixels, dict[str, npt.NDArray[np.float32]]]:
        """Returns the images and targets of one step, a function of the step and the seed alone.

        Args:
            step: Number of the step, from 0.

        Returns:
            images: Half of them mirrored. Shape (B, 224, 224, 3), uint8.
            targets: `features` (B, 1280), `logits` (B, 1000) and `maps` (B, 7, 7, M), mirrored with their image,
                float32.
        """
        samples = len(self.photos) * self.config.views
        position = step * self.config.batch_size
        index = np.arange(position, position + self.config.batch_size)
        chosen = np.array([self.order(int(p))[int(i)] for p, i in zip(index // samples, index % samples, strict=True)])
        rows = chosen // self.config.views
        views = chosen % self.config.views
        mirrored = np.random.default_rng((self.config.seed, step)).random(len(rows)) < 0.5
        images = self._images([(int(row), int(view)) for row, view in zip(rows, views, strict=True)])
        maps = self.projection.targets(self.maps[rows, views])
        images[mirrored] = images[mirrored, :, ::-1]
        maps[mirrored] = maps[mirrored, :, ::-1]
        features, logits = (np.asarray(answer[rows, views], np.float32) for answer in (self.features, self.logits))
        return images, {"features": features, "logits": logits, "maps": maps}

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Returns the order of all views in an epoch. Shape (views,). That of the latest epoch is cached."""
        if self._kept_order[0] != epoch:
            samples = len(self.photos) * self.config.views
            self._kept_order = (epoch, np.random.default_rng((self.config.seed, epoch)).permutation(samples))
        return self._kept_order[1]


def _cut(views: Sequence[View], size: int) -> list[Sequence[View]]:
    return [views[start : start + size] for start in range(0, len(views), size)]


def _answers(teacher: keras.Model, images: Pixels) -> dict[str, npt.NDArray[np.float32]]:
    return {name: np.asarray(output, np.float32) for name, output in teacher.predict_on_batch(images).items()}
