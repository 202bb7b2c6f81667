"""Crops that the training device makes are Pillow's."""

import numpy as np
from PIL import Image

from training.encoder.cropping import crop
from training.encoder.views import random_boxes

SIZE = (224, 224)


def test_crops_are_pillows() -> None:
    random = np.random.default_rng(1)
    small = random.integers(0, 256, (6, 28, 28, 3), np.uint8)
    images = np.stack([np.asarray(Image.fromarray(image).resize(SIZE, Image.Resampling.BICUBIC)) for image in small])
    boxes = random_boxes(random, np.full(6, 0.2)).astype(np.float32)
    boxes[0] = (0, 0, *SIZE)
    mirrored = np.arange(6) % 2 == 1
    found = np.asarray(crop(images, boxes, mirrored))
    for image, (left, top, width, height), flipped, values in zip(images, boxes, mirrored, found, strict=True):
        part = (left, top, left + width, top + height)
        expected = np.asarray(Image.fromarray(image).resize(SIZE, Image.Resampling.BILINEAR, box=part), np.float32)
        expected = expected[:, ::-1] if flipped else expected
        assert np.abs(values - expected).max() < 1.5  # Pillow rounds twice
        assert np.abs(values - expected).mean() < 0.5
    np.testing.assert_allclose(found[0], images[0], atol=1e-3)


def test_boxes_lie_in_the_photo_and_are_no_smaller_than_asked() -> None:
    smallest = np.repeat([0.3, 0.9], 500)
    left, top, width, height = random_boxes(np.random.default_rng(2), smallest).T
    assert (np.minimum(left, top) >= 0).all()
    assert (np.maximum(left + width, top + height) <= SIZE[0] + 1e-9).all()
    share = width * height / SIZE[0] ** 2
    assert share[500:].min() > 0.9 * 0.86  # the sides of wide parts are cut to the photo's
    assert 0.2 < share[:500].min() < 0.4
    assert (np.abs(np.log(width / height)) < np.log(4 / 3) + 1e-9).all()
