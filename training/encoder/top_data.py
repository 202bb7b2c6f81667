"""The data that an encoder's top learns from: inputs of its first layer, and a teacher's answers, in batches."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from training.config import TopConfig
from training.data.labelled import UNKNOWN, class_of
from training.data.photo_cache import VIEWS, PhotoCache, View, photo_key
from training.progress import progress

INPUTS = "inputs.npy"

_BATCH = 32

Halves = npt.NDArray[np.float16]
Layers = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Runs layers on values (B, ...)."""


class TopData:
    """The inputs of the first learning layer for each view of the photos, and the teacher's answers.

    Args:
        file: Where the inputs are kept.
        before: Computes these inputs from maps (B, H, W, C), float32.
        paths: Photos; each must have maps and answers.
        maps: Their maps.
        answers: Their answers.
        classes: Class by WordNet id; see `training.data.labelled.class_of`.

    Raises:
        DataError: A photo has no maps or no answers.
    """

    def __init__(
        self, file: Path, before: Layers, paths: Sequence[Path], maps: PhotoCache, answers: PhotoCache,
        classes: Mapping[str, int] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        by_key: dict[str, int] = {}
        for path in paths:
            key = photo_key(path.read_bytes())
            by_key[key] = max(by_key.get(key, UNKNOWN), class_of(path, classes))
        keys = list(by_key)
        self._labels = np.array(list(by_key.values()))
        self.views = views_of(keys, maps)
        self._answers = answers
        places = {key: row for row, key in enumerate(keys)}
        self._rows = np.array([places[key] for key, _ in self.views])
        self.features, self.logits = (
            np.stack([answers.read(name, key) for key in keys]) for name in ("features", "logits")
        )
        self.inputs = _inputs(file, before, self.views, maps)

    def __len__(self) -> int:
        return len(self.views)

    def batch(self, chosen: npt.NDArray[np.int64]) -> tuple[Any, dict[str, Any]]:
        """Returns inputs and targets of some views, float32; `labels` (B, C) are all 0 where a class is not known."""
        rows = self._rows[chosen]
        targets = {name: getattr(self, name)[rows].astype(np.float32) for name in ("features", "logits")}
        every_class = np.arange(targets["logits"].shape[-1])
        targets["labels"] = (self._labels[rows, None] == every_class).astype(np.float32)
        return self.inputs[chosen].astype(np.float32), targets


def views_of(keys: Sequence[str], maps: PhotoCache) -> list[tuple[str, View]]:
    """Returns the views to learn from: each photo, and its mirror image where it has maps."""
    return [(key, view) for key in keys for view in VIEWS if view == "whole" or (key, view) in maps]


def _inputs(file: Path, before: Layers, views: Sequence[tuple[str, View]], maps: PhotoCache) -> Halves:
    """Returns the inputs of all views (P, …), float16, on disk; an equal earlier call's file is used again."""
    stamp = file.with_suffix(".json")
    first = before(maps.read("maps", *views[0])[None].astype(np.float32))
    content = {"views": len(views), "first": list(views[0]), "last": list(views[-1]), "shape": first.shape[1:]}
    if not stamp.exists() or json.loads(stamp.read_text()) != json.loads(json.dumps(content)):
        stamp.unlink(missing_ok=True)
        shape = (len(views), *first.shape[1:])
        made = np.lib.format.open_memmap(file, "w+", np.float16, shape)
        for start in progress(range(0, len(views), _BATCH), "running the frozen layers", unit="batch"):
            batch = np.stack([maps.read("maps", key, view) for key, view in views[start : start + _BATCH]])
            made[start : start + len(batch)] = before(batch.astype(np.float32))
        made.flush()
        stamp.write_text(json.dumps(content))
    inputs: Halves = np.load(file, mmap_mode="r")
    return inputs


class Batches:
    """The batches of a run: views in another order each epoch, mixed if so wished.

    Views that do not fill a batch are left out of an epoch.
    """

    def __init__(self, data: TopData, config: TopConfig) -> None:
        self._data = data
        self._config = config
        self._epoch = -1
        self._order = np.empty(0, np.int64)

    def batch(self, step: int) -> tuple[Any, dict[str, Any]]:
        """Returns inputs and targets of a step, which alone decides them."""
        size = self._config.batch_size
        epoch, number = divmod(step, len(self._data) // size)
        if self._epoch != epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self._config.seed, epoch)).permutation(len(self._data))
        # The file is read faster in rising order.
        inputs, targets = self._data.batch(np.sort(self._order[number * size : (number + 1) * size]))
        if self._config.mixup == 0:
            return inputs, targets
        random = np.random.default_rng((self._config.seed, epoch, number))
        share = random.beta(self._config.mixup, self._config.mixup, size).astype(np.float32)
        other = random.permutation(size)
        return _mixed(inputs, share, other), {name: _mixed(values, share, other) for name, values in targets.items()}


def _mixed(
    values: npt.NDArray[np.float32], share: npt.NDArray[np.float32], other: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Returns for each row (B, …) its share (B,) of it with the rest of another row."""
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    mixed: npt.NDArray[np.float32] = share * values + (1 - share) * values[other]
    return mixed
