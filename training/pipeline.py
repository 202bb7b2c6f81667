"""Input pipelines (`tf.data`): records to images, and features with captions to padded batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.config import IMAGE_PIXELS
from model.errors import DataError
from model.image import read_image
from training.records import shard_paths

BUCKET_STEP = 3
"""Captions whose lengths differ by less than this share a bucket."""


class ImageRecord(NamedTuple):
    """Holds a batch of records.

    Attributes:
        images: Shape (B, 224, 224, 3), uint8.
        names: File names. Shape (B,), string.
        captions: Sentences. Ragged shape (B, None), string.
        tokens: Ids of all captions, end ids included. Ragged shape (B, None, None), int64.
    """

    images: Any
    names: Any
    captions: Any
    tokens: Any


def image_batches(directory: Path, split: str, batch_size: int) -> tf.data.Dataset:
    """Reads a split's records in their order, decoding each image as the server does.

    Args:
        directory: Finished records.
        split: `train` or `dev`.
        batch_size: Images a batch; the last may be smaller.

    Returns:
        A dataset of `ImageRecord`.

    Raises:
        DataError: The directory is incomplete. Reading on past a damaged
            record raises `tf.errors.DataLossError`.
    """
    records = tf.data.TFRecordDataset(shard_paths(directory, split))
    parsed = records.map(_parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    # Tensors of known shape, the images, stay dense.
    return parsed.ragged_batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _parse(record: tf.Tensor) -> ImageRecord:
    spec = {
        "image": tf.io.FixedLenFeature((), tf.string),
        "name": tf.io.FixedLenFeature((), tf.string),
        "captions": tf.io.RaggedFeature(tf.string),
        "tokens": tf.io.RaggedFeature(tf.int64),
        "lengths": tf.io.RaggedFeature(tf.int64),
    }
    values = tf.io.parse_single_example(record, spec)
    # Pillow decodes, not tf.image: training and serving must see the same pixels.
    image = tf.numpy_function(_decode, [values["image"]], tf.uint8, stateful=False)
    image.set_shape((IMAGE_PIXELS, IMAGE_PIXELS, 3))
    tokens = tf.RaggedTensor.from_row_lengths(values["tokens"], values["lengths"])
    return ImageRecord(image, values["name"], values["captions"], tokens)


def _decode(data: bytes) -> npt.NDArray[np.uint8]:
    return read_image(data).pixels


def caption_batches(
    features: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], captions: Sequence[Sequence[int]], *,
    batch_size: int, seed: int | None = None,
) -> tf.data.Dataset:  # fmt: skip
    """Pairs features with captions in batches of similar length, so that little padding is computed.

    Args:
        features: Views of each image. Shape (P, views, D), float32.
        rows: Image of each caption. Shape (S,), in [0, P).
        captions: Token ids of each caption with its end id, S of them.
        batch_size: Captions a batch.
        seed: Seed of the order and of the view drawn for each caption; None keeps the order and takes view 0.

    Returns:
        A dataset of (features (B, D) float32, tokens (B, T) int32 padded with 0), one pass long, the same every time.

    Raises:
        DataError: There is no caption.
    """
    if not captions:
        raise DataError("expected captions to train on, received none")
    lengths = np.array([len(ids) for ids in captions], np.int32)
    padded = np.zeros((len(captions), lengths.max()), np.int32)  # (S, T)
    for index, ids in enumerate(captions):
        padded[index, : len(ids)] = ids
    order, views = np.arange(len(captions)), np.zeros(len(captions), np.int64)
    if seed is not None:
        random = np.random.default_rng(seed)
        order, views = random.permutation(order), random.integers(features.shape[1], size=len(captions))
    bounds = _bucket_bounds(lengths)
    dataset = tf.data.Dataset.from_tensor_slices((rows[order], views, padded[order], lengths[order]))
    dataset = dataset.bucket_by_sequence_length(
        lambda _row, _view, _tokens, length: length, bounds, [batch_size] * (len(bounds) + 1), no_padding=True
    )
    table = tf.constant(features)

    def gather(row: tf.Tensor, view: tf.Tensor, tokens: tf.Tensor, length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather_nd(table, tf.stack([row, view], axis=1)), tokens[:, : tf.reduce_max(length)]

    return dataset.map(gather, num_parallel_calls=1, deterministic=True).prefetch(2)


def count_batches(captions: Sequence[Sequence[int]], batch_size: int) -> int:
    """Returns the number of batches in one pass of `caption_batches`; the order does not change it."""
    lengths = np.array([len(ids) for ids in captions], np.int32)
    buckets = np.bincount(np.searchsorted(_bucket_bounds(lengths), lengths, side="right"))
    return int(np.sum(-(-buckets // batch_size)))


def _bucket_bounds(lengths: npt.NDArray[np.int32]) -> list[int]:
    return list(range(int(lengths.min()) + BUCKET_STEP, int(lengths.max()) + 1, BUCKET_STEP))
