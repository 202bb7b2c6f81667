"""Where the words and the classes of a photo come from: for each of them a map over the photo. NumPy only.

A map says how much each place of the last convolution's map adds to the log-probability of the word, to first order:
the gradient at that place times what is there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from model.backward import ClassGradient, DecoderGradient
from model.blocks import BLOCKS
from model.config import FEATURES, CaptionerConfig, EncoderConfig

Floats = npt.NDArray[np.float32]

CLASS_LAYERS = ("fc1", "fc2", "predictions")
"""The encoder's layers behind its last map."""


def is_behind_the_map(name: str) -> bool:
    """Returns whether a bundle's tensor is one of those that maps are computed with."""
    part, layer, _ = name.split("/")
    return part == "decoder" or layer in CLASS_LAYERS


class Attribution:
    """Maps of words and classes.

    Args:
        config: The architecture.
        weights: A bundle's tensors; those for which `is_behind_the_map` says so are enough.

    Source:
        Class activation maps (Zhou et al. 2016, arXiv:1512.04150), carried through any layers behind the pooling by
        their gradient (Selvaraju et al. 2017, arXiv:1610.02391). Where the last map is averaged they are those of
        Grad-CAM. Elsewhere each place has its own gradient instead of its channel's mean, as in HiResCAM (Draelos &
        Carin 2020, arXiv:2011.08891), so that a map adds up to the first-order effect of the whole photo. Deviations:
        of log-probabilities, not of logits, so that what speaks for every word counts for none; negative places are
        kept; and the last pooling is gone back through to the places of its maxima, which are four times as many. Each
        of these shares with the places around it: which of four was the largest says little.
    """

    def __init__(self, config: CaptionerConfig, weights: Mapping[str, npt.NDArray[Any]]) -> None:
        self._config = config.encoder
        parts: dict[str, dict[str, npt.NDArray[Any]]] = {"encoder": {}, "decoder": {}}
        for name, value in weights.items():
            if is_behind_the_map(name):
                part, _, rest = name.partition("/")
                parts[part][rest] = value
        self._decoder = DecoderGradient(config.decoder, parts["decoder"])
        self._classes = ClassGradient(parts["encoder"])

    def words(self, last_map: Floats, captions: Sequence[Sequence[int]]) -> list[Floats]:
        """Returns a map for each word of some captions of one image.

        Args:
            last_map: Outputs of the last convolution. Shape (H, W, C), float32, at least 0.
            captions: The words of each.

        Returns:
            For each caption of T words what each place adds to the log-probability of the word after the words before
            it, in nats, to first order. Shape (T, H, W), float32.
        """
        if not any(map(len, captions)):
            return [np.zeros((0, *last_map.shape[:2]), np.float32) for _ in captions]
        pooled = max_pooled(last_map)
        rises = self._decoder.gradient(self._features(pooled), captions)  # of (T, D)
        maps = _unpooled(self._through_features(pooled, np.concatenate(rises)) * pooled, last_map)
        return np.split(maps, np.cumsum([len(rise) for rise in rises])[:-1])

    def classes(self, last_map: Floats, classes: Sequence[int]) -> Floats:
        """Returns a map for each class, shape (N, H, W), as `words` does; `classes` are N of them by number."""
        pooled = max_pooled(last_map)
        rise = self._classes.gradient(self._read_by_fc1(pooled), classes)
        return _unpooled(self._through_fc1(pooled, rise) * pooled, last_map)

    def log_probs(self, features: Floats, tokens: Sequence[int]) -> Floats:
        """Returns the log-probability of each word for each image, (N, T); see `DecoderGradient.log_probs`."""
        return self._decoder.log_probs(features, tokens)

    def _features(self, pooled: Floats) -> Floats:
        """Returns what the decoder reads (D,) of a pooled map (H, W, C); see `EncoderConfig.features`."""
        parts = []
        if self._config.features in ("average", "average_max", "average_fc2"):
            parts.append(pooled.mean(axis=(0, 1)))
        if self._config.features == "average_max":
            parts.append(pooled.max(axis=(0, 1)))
        if self._config.features == "grid":
            parts += [pooled[rows, columns].mean(axis=(0, 1)) for rows, columns in _quarters(pooled.shape[0])]
        if FEATURES[self._config.features][1]:
            parts.append(self._classes.second(self._read_by_fc1(pooled)))
        return np.concatenate(parts)

    def _through_features(self, pooled: Floats, rise: Floats) -> Floats:
        """Returns gradients with respect to the pooled map (N, H, W, C), given those of the feature (N, D)."""
        height, width, channels = pooled.shape
        behind = np.zeros((len(rise), *pooled.shape), np.float32)
        parts = [
            rise[:, at : at + channels] for at in range(0, FEATURES[self._config.features][0] * channels, channels)
        ]
        if self._config.features in ("average", "average_max", "average_fc2"):
            behind += parts[0][:, None, None] / (height * width)
        if self._config.features == "average_max":
            behind += parts[1][:, None, None] * _first_maxima(pooled)
        if self._config.features == "grid":
            for part, (rows, columns) in zip(parts, _quarters(height), strict=True):
                behind[:, rows, columns] += part[:, None, None] / pooled[rows, columns, 0].size
        if FEATURES[self._config.features][1]:
            fc = rise[:, len(parts) * channels :]
            behind += self._through_fc1(pooled, self._classes.carried(self._read_by_fc1(pooled), fc))
        return behind

    def _read_by_fc1(self, pooled: Floats) -> Floats:
        return pooled.mean(axis=(0, 1)) if self._config.pooling == "average" else pooled.reshape(-1)

    def _through_fc1(self, pooled: Floats, rise: Floats) -> Floats:
        if self._config.pooling == "average":
            height, width, _ = pooled.shape
            return np.asarray(np.broadcast_to(rise[:, None, None] / (height * width), (len(rise), *pooled.shape)))
        return rise.reshape(len(rise), *pooled.shape)


def last_map_shape(config: EncoderConfig, pixels: int) -> tuple[int, int, int]:
    """Returns the shape (H, W, C) of the last convolution's map for square images of so many pixels a side."""
    side = pixels // config.input_pooling // 2 ** (len(BLOCKS) - 1)
    return side, side, BLOCKS[-1].scaled(config.widths[-1])


def max_pooled(last_map: Floats) -> Floats:
    """Returns the encoder's last pooling, 2x2 without overlap, of a map (H, W, C); an odd last row is left out."""
    return np.asarray(_windows(last_map).max(axis=(1, 3)))


def _windows(last_map: Floats) -> Floats:
    height, width, channels = last_map.shape
    whole = last_map[: height // 2 * 2, : width // 2 * 2]
    return np.asarray(whole.reshape(height // 2, 2, width // 2, 2, channels))


def _unpooled(products: Floats, last_map: Floats) -> Floats:
    """Moves what channels add at places of the pooled map (N, h, w, C) to the maxima that they came from, and adds up.

    Each place then shares equally with the places around it; the sum stays.

    Returns:
        Shape (N, H, W).
    """
    count, height, width, channels = products.shape
    windows = _windows(last_map).transpose(0, 2, 1, 3, 4).reshape(height, width, 4, channels)
    is_first = windows.argmax(axis=2)[:, :, None] == np.arange(4)[:, None]  # (h, w, 4, C)
    parts = np.einsum("nhwc,hwpc->nhwp", products, is_first.astype(np.float32))
    found = np.zeros((count, *last_map.shape[:2]), np.float32)
    found[:, : height * 2, : width * 2] = _shared(
        parts.reshape(count, height, width, 2, 2).transpose(0, 1, 3, 2, 4).reshape(count, height * 2, width * 2)
    )
    return found


def _shared(maps: Floats) -> Floats:
    """Returns maps (N, H, W) of which each place shares equally with those of the 3x3 around it that there are."""
    around = ((0, 0), (1, 1), (1, 1))
    neighbours = sliding_window_view(np.pad(np.ones((1, *maps.shape[1:]), np.float32), around), (3, 3), (1, 2)).sum(
        axis=(3, 4)
    )
    return np.asarray(sliding_window_view(np.pad(maps / neighbours, around), (3, 3), (1, 2)).sum(axis=(3, 4)))


def _first_maxima(pooled: Floats) -> Floats:
    """Returns 1 at the first largest value of each channel and 0 elsewhere, shape (H, W, C)."""
    flat = pooled.reshape(-1, pooled.shape[-1])
    chosen = flat.argmax(axis=0) == np.arange(len(flat))[:, None]
    return np.asarray(chosen.reshape(pooled.shape), np.float32)


def _quarters(side: int) -> list[tuple[slice, slice]]:
    """Returns the quarters of the feature `grid`, row by row; of an odd side they overlap."""
    size = -(-side // 2)
    stride = max(1, side // 2)
    parts = [slice(start, start + size) for start in range(0, side - size + 1, stride)]
    return [(rows, columns) for rows in parts for columns in parts]
