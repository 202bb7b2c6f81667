"""The batches of training all together: photos, which part of each is seen, captions and classes."""

from typing import Any

import numpy as np
import numpy.typing as npt

from training.data.labelled import UNKNOWN
from training.data.packed import Packed
from training.decoder.joint_config import JointConfig
from training.encoder.views import random_boxes

MIXED_SHARE = 1 / 3
"""Share of mixtures among the views without captions and known classes."""


class JointBatches:
    """The batches of a run, each a function of its number and the seed alone.

    The views themselves are made by the device that trains: see `training.decoder.joint.views`.

    Args:
        data: The photos.
        config: Options.
        longest: Most words that are drawn in self-critical training.
    """

    def __init__(self, data: Packed, config: JointConfig, longest: int) -> None:
        self._data = data
        self._config = config
        self._longest = longest
        self._captioned = data.rows("train", captioned=True)
        self._all = data.rows("train")
        self._labelled = self._all[data.labels[self._all] != UNKNOWN]

    def batch(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns inputs, as `JointNetwork.call` reads them, and targets that stand for none.

        In self-critical training the inputs hold `rows` (B,) of the captioned photos among all, and `chances`
        (B, samples, T), float32 in [0, 1), from which captions are drawn.
        """
        config = self._config
        data = self._data
        random = np.random.default_rng((config.seed, step))
        captioned = self._cycled(self._captioned, step, config.captioned)
        count = round(config.labelled_share * config.views) if len(self._labelled) else 0
        others = [self._cycled(self._labelled, step, count), self._cycled(self._all, step, config.views - count)]
        rows = np.concatenate([captioned, *others])
        first = len(captioned)
        mixed = round(MIXED_SHARE * len(others[1]))
        photos = np.concatenate([rows, random.choice(self._all, mixed)])
        smallest = np.full(len(photos), config.smallest_view)
        smallest[:first] = config.smallest_crop
        labels = data.labels[rows]
        labels[len(rows) - mixed :] = UNKNOWN
        inputs = {
            "photos": data.pixels[photos],
            "boxes": random_boxes(random, smallest).astype(np.float32),
            "mirrored": random.random(len(photos)) < 0.5,
            "shares": random.random(mixed, np.float32),
            "tokens": data.tokens[captioned],
            "weights": data.weights[captioned],
            "labels": labels.astype(np.int32),
        }
        if config.samples:
            inputs["rows"] = captioned
            inputs["chances"] = random.random((first, config.samples, self._longest), np.float32)
        zeros = np.zeros(len(rows), np.float32)
        return inputs, {"captions": zeros[:first], "features": zeros, "classes": zeros, "labels": zeros}

    def _cycled(self, rows: npt.NDArray[np.int64], step: int, count: int) -> npt.NDArray[np.int64]:
        """Returns the rows of a step: all of them once, in a random order, before any comes again."""
        if not count:
            return rows[:0]
        positions = np.arange(step * count, (step + 1) * count)
        orders = {
            int(turn): np.random.default_rng((self._config.seed, len(rows), int(turn))).permutation(len(rows))
            for turn in np.unique(positions // len(rows))
        }
        return rows[[orders[int(p // len(rows))][int(p % len(rows))] for p in positions]]
