"""Input pipelines (`tf.data`): records to images, and features with captions to padded batches."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

from model.config import IMAGE_PIXELS
from model.errors import DataError
from model.image import read_image
from training.config import PipelineConfig
from training.data.records import damaged_records, read_index, shard_paths
from training.data.shards import count_records
from training.progress import progress

CLASS_SPEC = {"image": tf.io.FixedLenFeature((), tf.string), "label": tf.io.FixedLenFeature((), tf.int64)}
"""What is read of a class record."""

CAPTION_SPEC = {
    "image": tf.io.FixedLenFeature((), tf.string),
    "name": tf.io.FixedLenFeature((), tf.string),
    "captions": tf.io.RaggedFeature(tf.string),
    "tokens": tf.io.RaggedFeature(tf.int64),
    "lengths": tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),  # as its values, which split the tokens
}
"""What is read of a caption record."""

Share = Callable[[tf.data.Dataset], tf.data.Dataset]
"""Cuts global batches into parts, as `training.loop.replicas.Replicas.parts` does."""


def whole(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the batches as they are: the share of a single replica."""
    return batches


CYCLE = 4
"""Shards read at once; part of the order of the records, which the number of threads is not."""

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
    values = tf.io.parse_single_example(record, CAPTION_SPEC)
    # Pillow decodes, not tf.image: training and serving must see the same pixels.
    image = tf.numpy_function(_decode, [values["image"]], tf.uint8, stateful=False)
    image.set_shape((IMAGE_PIXELS, IMAGE_PIXELS, 3))
    tokens = tf.RaggedTensor.from_row_lengths(values["tokens"], values["lengths"])
    return ImageRecord(image, values["name"], values["captions"], tokens)


def _decode(data: bytes) -> npt.NDArray[np.uint8]:
    return read_image(data).pixels


def caption_batches(
    features: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], captions: Sequence[Sequence[int]], *,
    batch_size: int, seed: int | None = None, first_batch: int = 0, weights: npt.NDArray[np.float32] | None = None,
) -> tf.data.Dataset:  # fmt: skip
    """Pairs features with captions in batches of similar length, so that little padding is computed.

    Args:
        features: Views of each image. Shape (P, views, D), float32.
        rows: Image of each caption. Shape (S,), in [0, P).
        captions: Token ids of each caption with its end id, S of them.
        batch_size: Captions a batch.
        seed: Seed of the order and of the view drawn for each caption; None keeps the order and takes view 0.
        first_batch: Batches that were taken before.
        weights: How much each caption counts. Shape (S,), float32; None for 1 each.

    Returns:
        A dataset of (features (B, D) float32, tokens (B, T) int32 padded with 0, weights (B,) float32), one pass long,
        the same every time.

    Raises:
        DataError: There is no caption.
    """
    if not captions:
        raise DataError("expected captions to train on, received none")
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


def training_records(paths: Sequence[str], config: PipelineConfig, epoch: int, first_batch: int) -> tf.data.Dataset:
    """Reads an epoch's records in an order of its own, as batches with the random numbers of their augmentation.

    Shards are shuffled and read in parallel, then records are shuffled within the buffer; both depend on the seed and
    the epoch alone, so that a resumed run sees what the uninterrupted one would have. Records that do not fill
    a last batch sit this epoch out.

    Args:
        paths: Shards.
        config: Batch size, buffer, threads and seed.
        epoch: Number of the epoch, counted from 0.
        first_batch: Batches of the epoch that were taken before.

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
        config: How.
        epoch: Number of the epoch, counted from 0.
        first_batch: Batches of the epoch that were taken before.
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
    paths: Sequence[str], config: PipelineConfig, epoch: int, first_batch: int = 0, *, share: Share = whole
) -> tf.data.Dataset:
    """Reads an epoch of caption records for training the encoder too: shuffled, decoded, augmented.

    Args:
        paths: Shards of caption records.
        config: How.
        epoch: Number of the epoch, counted from 0.
        first_batch: Batches of the epoch that were taken before.
        share: Cuts global batches into the parts of this worker's replicas before they are decoded.

    Returns:
        A dataset of (images (B, 224, 224, 3) uint8, tokens (B, captions, T) int32 padded with 0).
    """
    batches = training_records(paths, config, epoch, first_batch)

    def decoded(records: tf.Tensor, numbers: tf.Tensor, decode: Callable[[tf.Tensor], tf.Tensor]) -> tuple[Any, Any]:
        values = tf.io.parse_example(records, CAPTION_SPEC)
        tokens = tf.RaggedTensor.from_row_lengths(values["tokens"].flat_values, values["lengths"].flat_values)
        nested = tf.RaggedTensor.from_row_splits(tokens, values["lengths"].row_splits)  # (B, captions, T)
        return augment(decode(values["image"]), numbers, config), tf.cast(nested.to_tensor(), tf.int32)

    return _fed(batches, decoded, config, share)


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
    """Decodes batches here, or on a `tf.data` service, whose one worker runs no Python and so decodes by TensorFlow."""
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


def decode_images(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes image files (B,) as the server does: (B, 224, 224, 3) uint8."""
    images = tf.numpy_function(_decode_all, [encoded], tf.uint8, stateful=False)
    images.set_shape((None, IMAGE_PIXELS, IMAGE_PIXELS, 3))
    return images


def _decode_all(encoded: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    images = np.empty((len(encoded), IMAGE_PIXELS, IMAGE_PIXELS, 3), np.uint8)
    for index, data in enumerate(encoded):
        images[index] = read_image(data).pixels
    return images


def decode_in_graph(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes image files (B,) by TensorFlow alone, for machines that run no Python: (B, 224, 224, 3) uint8.

    Within a few levels of what `decode_images` gives, since JPEG is decoded by another inverse transform, but for EXIF
    orientation and transparency, which are ignored.
    """

    def one(data: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(data, channels=3, expand_animations=False)
        size = (IMAGE_PIXELS, IMAGE_PIXELS)
        resized = tf.image.resize(tf.ensure_shape(image, (None, None, 3)), size, antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)

    return tf.map_fn(one, encoded, fn_output_signature=tf.TensorSpec((IMAGE_PIXELS, IMAGE_PIXELS, 3), tf.uint8))


def augment(images: tf.Tensor, numbers: tf.Tensor, config: PipelineConfig) -> tf.Tensor:
    """Crops and mirrors images by given random numbers.

    Args:
        images: Shape (B, 224, 224, 3), uint8.
        numbers: In [0, 1): area, aspect, top, left, mirrored. Shape (B, 5), float32.
        config: Whether to mirror, and the least share of the area in a crop.

    Returns:
        Shape (B, 224, 224, 3), uint8; crops, with an aspect of 3/4 to 4/3, are stretched to the whole.
    """
    if config.smallest_crop < 1:
        area = config.smallest_crop + (1 - config.smallest_crop) * numbers[:, 0]
        aspect = tf.exp((2 * numbers[:, 1] - 1) * math.log(4 / 3))
        height = tf.minimum(1.0, tf.sqrt(area / aspect))
        width = tf.minimum(1.0, tf.sqrt(area * aspect))
        top = (1 - height) * numbers[:, 2]
        left = (1 - width) * numbers[:, 3]
        boxes = tf.stack([top, left, top + height, left + width], axis=1)  # (B, 4)
        rows = tf.range(tf.shape(images)[0])
        cropped = tf.image.crop_and_resize(images, boxes, rows, (IMAGE_PIXELS, IMAGE_PIXELS))
        images = tf.cast(tf.round(cropped), tf.uint8)
    if config.flip:
        images = tf.where(numbers[:, 4, None, None, None] < 0.5, images[:, :, ::-1], images)
    return images


def split_batches(records: Path, split: str, batch_size: int, label: str) -> Iterator[ImageRecord]:
    """Yields the batches of a split under a progress bar that counts images.

    Raises:
        DataError: A record is damaged, or records are missing.
    """
    total = count_records(read_index(records), split)
    bar: tqdm[ImageRecord] = progress([], label, total=total, unit="photo")
    found = 0
    with bar:
        try:
            for batch in image_batches(records, split, batch_size):
                yield ImageRecord(*batch)
                found += len(batch[1])
                bar.update(len(batch[1]))
        except tf.errors.DataLossError as error:
            raise damaged_records(records, split, error) from error
    if found != total:
        raise DataError(f"{records}: expected {total} records of {split}, found {found}; prepare the records again")
