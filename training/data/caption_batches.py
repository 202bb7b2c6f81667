"""Batches of features with captions of similar length, by `tf.data`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.errors import DataError

BUCKET_STEP = 3
"""Captions whose lengths differ by less than this share a bucket."""


def caption_batches(
    features: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], captions: Sequence[Sequence[int]], *,
    batch_size: int, seed: int | None = None, first_batch: int = 0, weights: npt.NDArray[np.float32] | None = None,
) -> tf.data.Dataset:  # fmt: skip
    """Pairs features with captions in batches of similar length, so that little is computed for padding.

    Args:
        features: Views of each image. Shape (P, views, D), float32.
        rows: Image of each caption. Shape (S,), in [0, P).
        captions: Token ids of each caption with its end id, S of them.
        batch_size: Captions a batch.
        seed: Seed of the order and of the view drawn for each caption; None keeps the order and takes view 0.
        first_batch: Batches to skip, because an earlier run has taken them.
        weights: How much each caption counts. Shape (S,), float32; None for 1 each.

    Returns:
        A dataset of (features (B, D) float32, tokens (B, T) int32 padded with 0, weights (B,) float32), one pass long,
        the same every time.

    Raises:
        DataError: There is no caption.
    """
    if not captions:
        raise DataError("expected captions to train on, received none; check the records and the weights of sources")
    lengths = np.array([len(ids) for ids in captions], np.int32)
    padded = np.zeros((len(captions), lengths.max()), np.int32)  # (S, T)
    for index, ids in enumerate(captions):
        padded[index, : len(ids)] = ids
    order = np.arange(len(captions))
    views = np.zeros(len(captions), np.int64)
    if seed is not None:
        random = np.random.default_rng(seed)
        order = random.permutation(order)
        views = random.integers(features.shape[1], size=len(captions))
    bounds = _bucket_bounds(lengths)
    counts = np.ones(len(captions), np.float32) if weights is None else weights
    dataset = tf.data.Dataset.from_tensor_slices((rows[order], views, padded[order], counts[order], lengths[order]))
    dataset = dataset.bucket_by_sequence_length(
        lambda _row, _view, _tokens, _weight, length: length, bounds, [batch_size] * (len(bounds) + 1), no_padding=True
    )
    table = tf.constant(features)

    def gather(row: tf.Tensor, view: tf.Tensor, tokens: tf.Tensor, weight: tf.Tensor, length: tf.Tensor) -> Any:
        return tf.gather_nd(table, tf.stack([row, view], axis=1)), tokens[:, : tf.reduce_max(length)], weight

    return dataset.skip(first_batch).map(gather, num_parallel_calls=1, deterministic=True).prefetch(2)


def count_batches(captions: Sequence[Sequence[int]], batch_size: int) -> int:
    """Returns the number of batches in one pass of `caption_batches`; the order does not change it."""
    lengths = np.array([len(ids) for ids in captions], np.int32)
    buckets = np.bincount(np.searchsorted(_bucket_bounds(lengths), lengths, side="right"))
    return int(np.sum(-(-buckets // batch_size)))


def _bucket_bounds(lengths: npt.NDArray[np.int32]) -> list[int]:
    return list(range(int(lengths.min()) + BUCKET_STEP, int(lengths.max()) + 1, BUCKET_STEP))
