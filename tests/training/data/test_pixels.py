"""Decoding by Pillow and by TensorFlow, crops and mirror images."""

import io
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from training.config import PipelineConfig
from training.data.pixels import augment, decode_images, decode_in_graph

PLAIN = PipelineConfig(flip=False)
AUGMENTED = PipelineConfig(flip=True, smallest_crop=0.3)


def noise(count: int = 6) -> tuple[tf.Tensor, tf.Tensor]:
    random = np.random.default_rng(8)
    images = tf.constant(random.integers(0, 256, (count, 224, 224, 3), dtype=np.uint8))
    return images, tf.constant(random.random((count, 5), np.float32))


def test_a_smallest_crop_of_1_is_the_whole_image() -> None:
    images, numbers = noise()
    np.testing.assert_array_equal(augment(images, numbers, PLAIN), images)


def test_half_of_the_images_are_mirrored_exactly() -> None:
    images, numbers = noise()
    found = augment(images, numbers, replace(PLAIN, flip=True)).numpy()
    for image, before, number in zip(found, images.numpy(), numbers.numpy()[:, 4], strict=True):
        np.testing.assert_array_equal(image, before[:, ::-1] if number < 0.5 else before)


def test_a_mirrored_crop_is_the_mirror_image_of_the_crop() -> None:
    """Both are sampled at the same places; in between, the order of sums may round a value to its neighbour."""
    images, numbers = noise(16)
    crops = augment(images, numbers, replace(PLAIN, smallest_crop=0.3)).numpy()
    found = augment(images, numbers, AUGMENTED).numpy()
    mirrored = numbers.numpy()[:, 4] < 0.5
    assert 0 < mirrored.sum() < 16
    np.testing.assert_array_equal(found[~mirrored], crops[~mirrored])
    difference = np.abs(found[mirrored].astype(int) - crops[mirrored, :, ::-1])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_crops_stay_inside_and_are_as_large_as_they_should_be() -> None:
    """A ramp over rows and columns tells where each crop begins and ends; outside would be black."""
    ramp = np.zeros((64, 224, 224, 3), np.uint8)
    ramp[..., 0] = np.arange(224)[:, None] + 16
    ramp[..., 1] = np.arange(224) + 16
    ramp[..., 2] = 255
    numbers = np.random.default_rng(2).random((64, 5), np.float32)
    numbers[:8, :4] = [[a, b, c, d] for a in (0, 0.999) for b in (0, 0.999) for c, d in ((0, 0.999), (0.999, 0))]
    found = augment(tf.constant(ramp), tf.constant(numbers), replace(PLAIN, smallest_crop=0.25)).numpy().astype(float)
    assert np.all(found[..., 2] == 255)
    height = (found[:, -1, 0, 0] - found[:, 0, 0, 0]) / 223
    width = (found[:, 0, -1, 1] - found[:, 0, 0, 1]) / 223
    assert np.all((height * width > 0.24) & (height * width < 1.01))
    aspect = width / height
    assert np.all((aspect > 0.73) & (aspect < 1.37))


@pytest.mark.parametrize(("form", "size"), [("PNG", (300, 200)), ("JPEG", (300, 200)), ("JPEG", (64, 64))])
def test_the_graph_decodes_what_pillow_decodes(form: str, size: tuple[int, int]) -> None:
    width, height = size
    columns, rows = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    waves = np.stack([np.sin(9 * columns), np.cos(7 * rows), np.sin(5 * (columns + rows))], axis=-1)
    file = io.BytesIO()
    Image.fromarray((127 + 120 * waves).astype(np.uint8)).save(file, form, quality=92)
    encoded = tf.constant([file.getvalue()])
    ours, theirs = (decode(encoded).numpy().astype(float) for decode in (decode_images, decode_in_graph))
    assert ours.shape == theirs.shape == (1, 224, 224, 3)
    difference = np.abs(ours - theirs)
    assert difference.max() <= (1 if form == "PNG" else 8)
    assert difference.mean() < (0.5 if form == "PNG" else 1.5)
