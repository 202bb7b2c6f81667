"""Large JPEG files are decoded at a reduced scale: how far that is from the whole, and that small ones are not."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model.image import inspect_image, read_image

Pixels = npt.NDArray[np.uint8]
Encode = Callable[..., bytes]

# Levels of 255 between a photo decoded at a reduced scale and one decoded in full, both resized.
MEAN = 0.5
PERCENTILE_99 = 1.0

ORIENTATIONS = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270}


def scene(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Returns a picture with detail of all sizes, as photos have, and the noise of a sensor."""
    random = np.random.default_rng(size[0] + size[1])
    values = np.full((size[1], size[0], 3), 120.0, np.float32)
    for side, strength in ((4, 60.0), (16, 40.0), (64, 20.0), (256, 10.0)):
        coarse = Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8))
        values += strength * (np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float32) / 127.5 - 1)
    values += random.normal(0, 3, values.shape)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert(mode)


def in_full(data: bytes) -> Pixels:
    return np.asarray(whole(data).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))


def whole(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (61, 43), (224, 224), (500, 375), (895, 1301), (2500, 895)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_whose_shorter_side_is_below_four_times_the_input_is_decoded_in_full(
    encoded: Encode, size: tuple[int, int], options: dict[str, Any]
) -> None:
    data = encoded(scene(size), "JPEG", quality=90, **options)
    found = read_image(data).pixels
    if size[0] * size[1] <= 1_000_000:
        np.testing.assert_array_equal(found, in_full(data))
    else:  # resized in bands, which rounds once more
        assert np.abs(found.astype(int) - in_full(data)).max() <= 1


@pytest.mark.parametrize("size", [(896, 896), (903, 897), (1201, 901), (2003, 1507), (3601, 3593), (1791, 2501)])
@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGB", {}), ("RGB", {"progressive": True}), ("RGB", {"subsampling": 0}), ("L", {}), ("CMYK", {})],
)
def test_a_large_jpeg_is_near_the_one_that_is_decoded_in_full(
    encoded: Encode, size: tuple[int, int], mode: str, options: dict[str, Any]
) -> None:
    data = encoded(scene(size, mode), "JPEG", quality=90, **options)
    apart = np.abs(read_image(data).pixels.astype(int) - in_full(data))
    assert 0 < apart.mean() < MEAN
    assert np.percentile(apart, 99) <= PERCENTILE_99


@pytest.mark.parametrize(("orientation", "turn"), ORIENTATIONS.items())
def test_a_large_jpeg_is_turned_upright(encoded: Encode, orientation: int, turn: Image.Transpose | None) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    data = encoded(scene((2000, 1500)), "JPEG", quality=90, exif=tags)
    found = read_image(data)
    assert (found.width, found.height) == ((1500, 2000) if orientation == 6 else (2000, 1500))
    image = whole(data) if turn is None else whole(data).transpose(turn)
    expected = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR))
    assert np.abs(found.pixels.astype(int) - expected).mean() < MEAN


@pytest.mark.parametrize(("size", "scale"), [((895, 895), 1), ((896, 3000), 2), ((4000, 3000), 4), ((3584, 3584), 8)])
def test_the_decoded_sides_stay_at_least_twice_the_input(encoded: Encode, size: tuple[int, int], scale: int) -> None:
    header = inspect_image(encoded(Image.new("RGB", size), "JPEG"))
    assert header.decoded_bytes == 4 * -(-size[0] // scale) * -(-size[1] // scale)
    assert scale == 1 or min(size) // scale >= 2 * 224
