"""Input pipelines (`tf.data`): records to images, and features with captions to padded batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

from model.config import IMAGE_PIXELS
from model.errors import DataError
from model.image import read_image
from training.config import PipelineConfig
from training.data.damage import damaged_records
from training.data.feed import Feed
from training.data.mixing import SEPARATOR
from training.data.pixels import augment, decode_images, decode_in_graph
from training.data.records import read_index, shard_paths
from training.data.shards import count_records
from training.progress import progress

CLASS_SPEC = {"image": tf.io.FixedLenFeature((), tf.string), "label": tf.io.FixedLenFeature((), tf.int64)}
"""Fields that are read from a class record."""

CAPTION_SPEC = {
    "image": tf.io.FixedLenFeature((), tf.string),
    "name": tf.io.FixedLenFeature((), tf.string),
    "captions": tf.io.RaggedFeature(tf.string),
    "tokens": tf.io.RaggedFeature(tf.int64),
    "lengths": tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),  # splits the tokens, which are int64 too
}
"""Fields that are read from a caption record."""

Share = Callable[[tf.data.Dataset], tf.data.Dataset]
"""A function that cuts global batches into parts for replicas; see `training.loop.replicas.Replicas.parts`."""


def whole(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the batches as they are: the share of a single replica."""
    return batches


CYCLE = 4
"""Shards read at once. The order of the records depends on this number, but not on the number of threads."""


class ImageRecord(NamedTuple):
    """A batch of caption records.

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
        split: `train`, `dev` or `test`.
        batch_size: Images a batch; the last may be smaller.

    Returns:
        A dataset of `ImageRecord`.

    Raises:
        DataError: The directory is incomplete. Reading on past a record that cannot be read raises
            `tf.errors.OpError`.
    """
    records = tf.data.TFRecordDataset(shard_paths(directory, split))
    parsed = records.map(_parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    # Images have a known shape, so they stay dense.
    return parsed.ragged_batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _parse(record: tf.Tensor) -> ImageRecord:
    values = tf.io.parse_single_example(record, CAPTION_SPEC)
    # Pillow decodes, not tf.image: training and serving must see the same pixels.
    image = tf.numpy_function(_decode, [values["image"]], tf.uint8, stateful=False)
    image.set_shape((IMAGE_PIXELS, IMAGE_PIXELS, 3))
    tokens = tf.RaggedTensor.from_row_lengths(values["tokens"], values["lengths"])
    return ImageRecord(image, values["name"], values["captions"], tokens)


def _decode(data: bytes) -> npt.NDArray[np.uint8]:
    return read_image(data).pixels


def training_records(paths: Sequence[str], config: PipelineConfig, epoch: int, first_batch: int) -> tf.data.Dataset:
    """Reads the records of an epoch in batches, with random numbers for their augmentation.

    Shards are shuffled and read in parallel, then records are shuffled within the buffer; both depend on the seed and
    the epoch alone, so that a resumed run sees what the uninterrupted one would have. Records that do not
    fill a last batch are left out of this epoch.

    Args:
        paths: Shards.
        config: Batch size, buffer, threads and seed.
        epoch: Number of the epoch, counted from 0.
        first_batch: Batches of the epoch to skip, because an earlier run has taken them.

    Returns:
        A dataset of (serialized records (B,) string, random numbers in [0, 1) (B, 5) float32).
    """
    seed = config.seed * 1_000_003 + epoch
    shards = tf.data.Dataset.from_tensor_slices(list(paths)).shuffle(len(paths), seed=seed)
    records = shards.interleave(
        tf.data.TFRecordDataset, cycle_length=CYCLE, num_parallel_calls=min(config.threads, CYCLE), deterministic=True
    )
    records = records.shuffle(config.shuffle_buffer, seed=seed).batch(config.batch_size, drop_remainder=True)

    def with_random(index: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        numbers = tf.random.stateless_uniform((config.batch_size, 5), tf.stack([tf.constant(seed, tf.int64), index]))
        return batch, numbers

    return records.enumerate().skip(first_batch).map(with_random)


def class_batches(
    paths: Sequence[str], config: PipelineConfig, epoch: int, first_batch: int = 0, *, share: Share = whole
) -> tf.data.Dataset:
    """Reads an epoch of class records for training: shuffled, decoded, augmented.

    Args:
        paths: Shards of class records.
        config: Batches, shuffling and augmentation.
        epoch: Number of the epoch, counted from 0.
        first_batch: Batches of the epoch to skip, because an earlier run has taken them.
        share: Cuts global batches into the parts of this worker's replicas before they are decoded.

    Returns:
        A dataset of (images (B, 224, 224, 3) uint8, labels (B,) int32).
    """
    batches = training_records(paths, config, epoch, first_batch)

    def decoded(records: tf.Tensor, numbers: tf.Tensor, decode: Callable[[tf.Tensor], tf.Tensor]) -> tuple[Any, Any]:
        values = tf.io.parse_example(records, CLASS_SPEC)
        return augment(decode(values["image"]), numbers, config), tf.cast(values["label"], tf.int32)

    return _fed(batches, decoded, config, share)


def captioned_batches(
    paths: Sequence[str], config: PipelineConfig, epoch: int, first_batch: int = 0, *, share: Share = whole,
    by_source: Mapping[str, float] = MappingProxyType({}),
) -> tf.data.Dataset:  # fmt: skip
    """Reads an epoch of caption records for training the encoder too: shuffled, decoded, augmented.

    Args:
        paths: Shards of caption records.
        config: Batches, shuffling and augmentation.
        epoch: Number of the epoch, counted from 0.
        first_batch: Batches of the epoch to skip, because an earlier run has taken them.
        share: Cuts global batches into the parts of this worker's replicas before they are decoded.
        by_source: How much each caption counts, by the source of its photo; 1 for all others.

    Returns:
        A dataset of (images (B, 224, 224, 3) uint8, tokens (B, captions, T) int32 padded with 0, weights (B,) float32).
    """
    batches = training_records(paths, config, epoch, first_batch)

    def decoded(records: tf.Tensor, numbers: tf.Tensor, decode: Callable[[tf.Tensor], tf.Tensor]) -> tuple[Any, ...]:
        values = tf.io.parse_example(records, CAPTION_SPEC)
        tokens = tf.RaggedTensor.from_row_lengths(values["tokens"].flat_values, values["lengths"].flat_values)
        nested = tf.RaggedTensor.from_row_splits(tokens, values["lengths"].row_splits)  # (B, captions, T)
        images = augment(decode(values["image"]), numbers, config)
        return images, tf.cast(nested.to_tensor(), tf.int32), _weights(values["name"], by_source)

    return _fed(batches, decoded, config, share)


def _weights(names: tf.Tensor, by_source: Mapping[str, float]) -> tf.Tensor:
    """Returns the weight of each photo (B,) by its name (B,)."""
    sources = tf.strings.regex_replace(names, f"{SEPARATOR}(.|\\n)*$", "")
    weights = tf.ones_like(sources, tf.float32)
    for source, weight in by_source.items():
        weights = tf.where(sources == source, tf.constant(weight, tf.float32), weights)
    return weights


def labelled_batches(
    paths: Sequence[str], batch_size: int, *, threads: int = 2, share: Share = whole
) -> tf.data.Dataset:
    """Reads class records in their order, for scoring; the last batch may be smaller.

    Returns:
        A dataset of (images (B, 224, 224, 3) uint8, labels (B,) int32).
    """

    def decoded(records: tf.Tensor) -> tuple[Any, Any]:
        values = tf.io.parse_example(records, CLASS_SPEC)
        return decode_images(values["image"]), tf.cast(values["label"], tf.int32)

    batches = tf.data.TFRecordDataset(list(paths)).batch(batch_size)
    return share(batches).map(decoded, num_parallel_calls=threads).prefetch(2)


def _fed(
    batches: tf.data.Dataset, decoded: Callable[..., Any], config: PipelineConfig, share: Share
) -> tf.data.Dataset:
    """Decodes batches here, or on a `tf.data` service. Its worker runs no Python, so TensorFlow decodes there."""
    if not config.service:
        here = partial(decoded, decode=decode_images)
        return share(batches).map(here, num_parallel_calls=config.threads, deterministic=True).prefetch(config.prefetch)
    there = batches.map(partial(decoded, decode=decode_in_graph), num_parallel_calls=tf.data.AUTOTUNE)
    served = there.apply(
        tf.data.experimental.service.distribute(
            tf.data.experimental.service.ShardingPolicy.OFF, config.service, max_outstanding_requests=config.prefetch
        )
    )
    return share(served).prefetch(config.prefetch)


def split_batches(records: Path, split: str, batch_size: int, label: str) -> Iterator[ImageRecord]:
    """Yields the batches of a split under a progress bar that counts images.

    Raises:
        DataError: A record cannot be read, or records are missing.
    """
    total = count_records(read_index(records), split)
    bar: tqdm[ImageRecord] = progress([], label, total=total, unit="photo")
    found = 0
    with bar, Feed(image_batches(records, split, batch_size)) as batches:
        try:
            for batch in batches:
                yield ImageRecord(*batch)
                found += len(batch[1])
                bar.update(len(batch[1]))
        except tf.errors.OpError as error:
            raise damaged_records(records, split, error) from error
    if found != total:
        raise DataError(f"{records}: expected {total} records of {split}, found {found}; prepare the records again")
