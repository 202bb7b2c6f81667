from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from model.bundle import ClassName
from model.errors import DataError
from model.vocabulary import Vocabulary
from training.config import PipelineConfig
from training.data.caption_batches import caption_batches, count_batches
from training.data.captioned import CaptionedImage
from training.data.labelled import LabelledImage
from training.data.pipeline import captioned_batches, class_batches, labelled_batches
from training.data.records import shard_paths, write_class_records, write_records
from training.loop.replicas import Replicas

FEATURES = np.arange(20, dtype=np.float32).reshape(5, 2, 2)
CAPTIONS = [[3] * (2 + index % 7) + [1] for index in range(40)]
ROWS = np.arange(40) % 5

PLAIN = PipelineConfig(batch_size=4, shuffle_buffer=8, flip=False)
AUGMENTED = replace(PLAIN, flip=True, smallest_crop=0.3)
COUNT = 22  # drawn images; with batches of 4, two of them sit an epoch out


def batches(seed: int | None, first_batch: int = 0) -> list[tuple[np.ndarray, ...]]:
    made = caption_batches(FEATURES, ROWS, CAPTIONS, batch_size=8, seed=seed, first_batch=first_batch)
    return [(features.numpy(), tokens.numpy()) for features, tokens, _ in made]


def test_every_caption_comes_once_with_the_feature_of_its_image() -> None:
    seen = []
    for features, tokens in batches(seed=None):
        for feature, row in zip(features, tokens, strict=True):
            seen.append((feature.tolist(), [int(token) for token in row if token]))
    expected = [(FEATURES[row, 0].tolist(), ids) for row, ids in zip(ROWS, CAPTIONS, strict=True)]
    assert sorted(seen) == sorted(expected)


def test_the_same_seed_gives_the_same_captions_and_another_seed_others() -> None:
    first = batches(1)
    again = batches(1)
    other = batches(2)
    assert_equal(first, again)
    assert not all(np.array_equal(one[0], two[0]) for one, two in zip(first, other, strict=True))


def test_captions_can_be_taken_up_in_the_middle() -> None:
    assert_equal(batches(1, first_batch=2), batches(1)[2:])


def test_training_draws_both_views_of_an_image() -> None:
    drawn = {tuple(feature) for features, _ in batches(seed=3) for feature in features}
    assert drawn == {tuple(view) for image in FEATURES for view in image}


def test_padding_of_a_batch_is_less_than_a_bucket() -> None:
    for _, tokens in batches(seed=1):
        lengths = (tokens != 0).sum(axis=1)
        assert tokens.shape[1] == lengths.max()
        assert lengths.max() - lengths.min() < 3


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_the_number_of_batches_is_known_beforehand(seed: int | None) -> None:
    assert len(batches(seed)) == count_batches(CAPTIONS, 8)


def test_every_caption_keeps_its_weight_and_counts_1_without_one() -> None:
    weights = np.arange(40, dtype=np.float32)
    rows = np.arange(40)
    features = np.arange(40, dtype=np.float32).reshape(40, 1, 1)
    for given, seed in ((weights, 3), (None, None)):
        made = caption_batches(features, rows, CAPTIONS, batch_size=8, seed=seed, weights=given)
        for feature, _, counts in made:
            np.testing.assert_array_equal(counts, feature[:, 0] if given is not None else np.ones(len(counts)))


def test_no_captions_are_refused() -> None:
    with pytest.raises(DataError, match="received none"):
        caption_batches(FEATURES, np.zeros(0, np.int64), [], batch_size=8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Returns drawn images, each of a grey of its own by which it is known again."""
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{index:02}.png" for index in range(COUNT)]
    for index, path in enumerate(paths):
        Image.new("RGB", (8, 8), (10 * index,) * 3).save(path)
    return paths


@pytest.fixture(scope="module")
def class_shards(photos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Returns shards of class records; the label of an image is its number."""
    directory = tmp_path_factory.mktemp("classes")
    labelled = [LabelledImage(path, path.name, index, "train") for index, path in enumerate(photos)]
    write_class_records(directory, labelled, [ClassName(f"n{i}", f"c{i}") for i in range(COUNT)], shard_images=5)
    return shard_paths(directory, "train")


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.build([f"photo {index} is grey" for index in range(COUNT)], min_count=1)


@pytest.fixture(scope="module")
def caption_shards(photos: list[Path], vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Returns shards of caption records: one caption each, and two of an even number, which are of a source `even`."""
    directory = tmp_path_factory.mktemp("captions")
    images = []
    for index, path in enumerate(photos):
        source = "" if index % 2 else "even:"
        captions = (f"photo {index}", f"photo {index} is grey")[: 2 - index % 2]
        images.append(CaptionedImage(path, source + path.name, captions, "train"))
    write_records(directory, images, vocabulary, shard_images=5)
    return shard_paths(directory, "train")


def listed(dataset: tf.data.Dataset) -> list[tuple[np.ndarray, ...]]:
    return [tuple(value.numpy() for value in batch) for batch in dataset]


def assert_equal(one: list[tuple[np.ndarray, ...]], two: list[tuple[np.ndarray, ...]]) -> None:
    for first, second in zip(one, two, strict=True):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)


def labels(found: list[tuple[np.ndarray, ...]]) -> list[int]:
    return [int(label) for _, values in found for label in values]


def test_the_same_seed_gives_the_same_images_and_another_epoch_or_seed_another_order(class_shards: list[str]) -> None:
    first = listed(class_batches(class_shards, AUGMENTED, 3))
    assert_equal(first, listed(class_batches(class_shards, AUGMENTED, 3)))
    orders = [
        labels(listed(class_batches(class_shards, config, epoch)))
        for config, epoch in ((AUGMENTED, 3), (AUGMENTED, 4), (replace(AUGMENTED, seed=2), 3))
    ]
    assert len({tuple(order) for order in orders}) == 3


def test_the_number_of_threads_does_not_change_the_batches(class_shards: list[str]) -> None:
    one, many = (listed(class_batches(class_shards, replace(AUGMENTED, threads=n), 0)) for n in (1, 8))
    assert_equal(one, many)


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_record_comes_at_most_once_an_epoch_with_its_label(class_shards: list[str], epoch: int) -> None:
    found = listed(class_batches(class_shards, PLAIN, epoch))
    assert [len(values) for _, values in found] == [4] * 5
    assert set(Counter(labels(found)).values()) == {1}
    for images, values in found:
        np.testing.assert_array_equal(images[:, 100, 100, 0], 10 * values)


@pytest.mark.parametrize("first_batch", [1, 4, 5])
def test_an_epoch_taken_up_in_the_middle_is_its_tail(class_shards: list[str], first_batch: int) -> None:
    tail = listed(class_batches(class_shards, AUGMENTED, 1, first_batch))
    assert len(tail) == 5 - first_batch
    assert_equal(tail, listed(class_batches(class_shards, AUGMENTED, 1))[first_batch:])


def test_scoring_reads_every_record_in_order(class_shards: list[str]) -> None:
    found = listed(labelled_batches(class_shards, 4))
    assert labels(found) == list(range(COUNT))
    assert [len(values) for _, values in found] == [4, 4, 4, 4, 4, 2]


def test_tokens_are_those_of_the_records(caption_shards: list[str], vocabulary: Vocabulary) -> None:
    found = listed(captioned_batches(caption_shards, PLAIN, 0))
    assert len(found) == 5
    for images, tokens, weights in found:
        np.testing.assert_array_equal(weights, np.ones(len(images), np.float32))
        assert (tokens.ndim, tokens.dtype) == (3, np.dtype(np.int32))
        for image, captions in zip(images, tokens, strict=True):
            number = int(image[100, 100, 0]) // 10
            sentences = [f"photo {number}", f"photo {number} is grey"][: 2 - number % 2]
            real = [[int(token) for token in row if token] for row in captions if row.any()]
            assert real == [vocabulary.encode(text, max_words=20) for text in sentences]


def test_captions_weigh_as_those_of_their_source_do(caption_shards: list[str]) -> None:
    for images, _, weights in listed(captioned_batches(caption_shards, PLAIN, 0, by_source={"even": 0.5})):
        numbers = images[:, 100, 100, 0] // 10
        np.testing.assert_array_equal(weights, np.where(numbers % 2 == 0, 0.5, 1).astype(np.float32))


def replicas(count: int, worker: int = 0, workers: int = 1) -> Replicas:
    return Replicas(tf.distribute.get_strategy(), count, count // workers, worker, workers)


def padded(batch: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Pads tokens to the most captions and words that there are; each part is padded on its own."""
    images, tokens, weights = batch
    return images, np.pad(tokens, [(0, 0), (0, 2 - tokens.shape[1]), (0, 5 - tokens.shape[2])]), weights


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_parts_of_all_replicas_together_are_the_global_batch(caption_shards: list[str], count: int) -> None:
    expected = [padded(batch) for batch in listed(captioned_batches(caption_shards, AUGMENTED, 2))]
    parts = listed(captioned_batches(caption_shards, AUGMENTED, 2, share=replicas(count).parts))
    assert len(parts) == count * len(expected)
    parts = [padded(part) for part in parts]
    joined = [
        tuple(np.concatenate(values) for values in zip(*parts[begin : begin + count], strict=True))
        for begin in range(0, len(parts), count)
    ]
    assert_equal(joined, expected)


def test_the_parts_of_two_workers_together_are_the_global_batch(class_shards: list[str]) -> None:
    expected = listed(class_batches(class_shards, AUGMENTED, 2))
    first, second = (
        listed(class_batches(class_shards, AUGMENTED, 2, share=replicas(2, worker, 2).parts)) for worker in (0, 1)
    )
    joined = [tuple(map(np.concatenate, zip(a, b, strict=True))) for a, b in zip(first, second, strict=True)]
    assert_equal(joined, expected)


@pytest.mark.slow
def test_a_tf_data_service_feeds_the_same_records(class_shards: list[str]) -> None:
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=0))
    worker = service.WorkerServer(service.WorkerConfig(dispatcher_address=dispatcher.target.split("://")[1]))
    config = replace(PLAIN, service=dispatcher.target)
    served = listed(class_batches(class_shards, config, 1))
    here = listed(class_batches(class_shards, PLAIN, 1))
    assert sorted(labels(served)) == sorted(labels(here))
    for images, values in served:
        assert np.abs(images[:, 100, 100, 0].astype(int) - 10 * values).max() <= 1
    parts = listed(class_batches(class_shards, config, 1, share=replicas(2).parts))
    assert sorted(labels(parts)) == sorted(labels(here))
    del worker, dispatcher


def test_batches_have_the_types_and_the_shape_that_the_network_takes(class_shards: list[str]) -> None:
    images, values = class_batches(class_shards, PLAIN, 0).element_spec
    spec: Any = (images.dtype, values.dtype, images.shape[1:])
    assert spec == (tf.uint8, tf.int32, tf.TensorShape((224, 224, 3)))
