"""Bytes to pixels: every accepted format and mode, and that nothing else than an image or an ImageError comes out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model.image import read_image

Pixels = npt.NDArray[np.uint8]
Encode = Callable[..., bytes]

LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True, "exact": True}, "BMP": {}, "TIFF": {}}
LOSSY = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}, "GIF": {}}


def square(image: Image.Image) -> Pixels:
    """Returns what is expected of an RGB image that is upright already."""
    return np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR))


def mean_difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(np.float32) - other).mean())


def stored(upright: Pixels, orientation: int) -> Pixels:
    """Returns what a file of an EXIF orientation stores, from what the standard says of row 0 and column 0."""
    turned: dict[int, Pixels] = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }
    return np.ascontiguousarray(turned[orientation])


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize(("name", "options"), LOSSLESS.items())
def test_a_lossless_format_gives_exactly_the_resized_pixels(
    drawing: Image.Image, encoded: Encode, name: str, options: dict[str, Any]
) -> None:
    image = read_image(encoded(drawing, name, **options))
    assert (image.pixels.shape, image.pixels.dtype.name) == ((224, 224, 3), "uint8")
    assert (image.width, image.height) == (120, 80)
    np.testing.assert_array_equal(image.pixels, square(drawing))


@pytest.mark.parametrize(("name", "options"), LOSSY.items())
def test_a_lossy_format_gives_nearly_the_resized_pixels(
    drawing: Image.Image, encoded: Encode, name: str, options: dict[str, Any]
) -> None:
    image = read_image(encoded(drawing, name, **options))
    assert (image.width, image.height) == (120, 80)
    assert mean_difference(image.pixels, square(drawing)) < 3


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (224, 224), (225, 223)])
def test_any_size_is_stretched_to_the_whole_square(encoded: Encode, size: tuple[int, int]) -> None:
    image = read_image(encoded(Image.new("RGB", size, (10, 200, 30)), "PNG"))
    assert (image.width, image.height) == size
    np.testing.assert_array_equal(image.pixels, np.full((224, 224, 3), (10, 200, 30)))


def test_a_large_jpeg_looks_the_same_as_the_lossless_file(drawing: Image.Image, encoded: Encode) -> None:
    large = drawing.resize((2400, 1600), Image.Resampling.BICUBIC)
    image = read_image(encoded(large, "JPEG", quality=95))
    assert (image.width, image.height) == (2400, 1600)
    assert mean_difference(image.pixels, square(large)) < 2


@pytest.mark.parametrize("mode", ["L", "1", "P"])
@pytest.mark.parametrize("name", ["PNG", "GIF", "BMP", "TIFF"])
def test_grey_black_and_white_and_palette_files_become_rgb(
    drawing: Image.Image, encoded: Encode, mode: str, name: str
) -> None:
    converted = drawing.convert(mode)
    image = read_image(encoded(converted, name))
    np.testing.assert_array_equal(image.pixels, square(converted.convert("RGB")))


def test_a_grey_jpeg_becomes_rgb(drawing: Image.Image, encoded: Encode) -> None:
    pixels = read_image(encoded(drawing.convert("L"), "JPEG", quality=95)).pixels
    assert mean_difference(pixels, square(drawing.convert("L").convert("RGB"))) < 2
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])


@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_a_cmyk_file_keeps_its_colours(drawing: Image.Image, encoded: Encode, name: str) -> None:
    image = read_image(encoded(drawing.convert("CMYK"), name))
    assert mean_difference(image.pixels, square(drawing)) < 5


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_laid_over_white(drawing: Image.Image, encoded: Encode, name: str) -> None:
    layer = drawing.convert("RGBA")
    alpha = np.full((80, 120), 255, np.uint8)
    alpha[:, :40] = 0
    alpha[:, 40:60] = 128
    layer.putalpha(Image.fromarray(alpha))
    options = {"lossless": True, "exact": True} if name == "WEBP" else {}
    share = (alpha / 255)[..., None]
    expected = np.round(np.asarray(drawing) * share + 255 * (1 - share)).astype(np.uint8)
    pixels = read_image(encoded(layer, name, **options)).pixels
    np.testing.assert_allclose(pixels.astype(int), square(Image.fromarray(expected)).astype(int), atol=2)
    assert (pixels[:, :70] == 255).all()


def test_grey_with_transparency_is_laid_over_white(encoded: Encode) -> None:
    layer = Image.merge("LA", (Image.new("L", (8, 8), 100), Image.new("L", (8, 8), 51)))
    np.testing.assert_array_equal(read_image(encoded(layer, "PNG")).pixels, np.full((224, 224, 3), 224))


@pytest.mark.parametrize("name", ["PNG", "GIF"])
def test_a_transparent_palette_entry_becomes_white(encoded: Encode, name: str) -> None:
    image = Image.new("P", (10, 10), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.paste(0, (0, 0, 5, 10))
    pixels = read_image(encoded(image, name, transparency=0)).pixels
    np.testing.assert_array_equal(pixels[:, 0], np.full((224, 3), 255))
    np.testing.assert_array_equal(pixels[:, -1], np.full((224, 3), (200, 10, 10)))


@pytest.mark.parametrize(("mode", "transparent"), [("RGB", (0, 0, 255)), ("L", 9)])
def test_a_transparent_colour_of_a_png_becomes_white(encoded: Encode, mode: str, transparent: Any) -> None:
    image = Image.new(mode, (10, 10), transparent)
    pixels = read_image(encoded(image, "PNG", transparency=transparent)).pixels
    np.testing.assert_array_equal(pixels, np.full((224, 224, 3), 255))


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(encoded: Encode, name: str) -> None:
    ramp = np.linspace(0, 65535, 224).astype(np.uint16)[None].repeat(224, axis=0)
    pixels = read_image(encoded(Image.fromarray(ramp), name)).pixels
    np.testing.assert_allclose(pixels.astype(float), np.repeat(ramp[..., None] / 257, 3, axis=2), atol=1)
    dark = read_image(encoded(Image.fromarray(np.full((4, 4), 200, np.uint16)), name)).pixels
    assert dark.max() <= 1


@pytest.mark.parametrize(
    ("dtype", "top"),
    [(np.int32, 255), (np.int32, 65535), (np.int32, 2**30), (np.float32, 1), (np.float32, 255), (np.float32, 65535)],
)
def test_32_bit_and_float_grey_are_scaled_and_not_clipped(encoded: Encode, dtype: type, top: int) -> None:
    ramp: npt.NDArray[Any] = (np.linspace(0, 1, 224) * top).astype(dtype)[None].repeat(224, axis=0)
    pixels = read_image(encoded(Image.fromarray(ramp), "TIFF")).pixels
    expected = np.repeat(ramp[..., None].astype(float) * 255 / top, 3, axis=2)
    np.testing.assert_allclose(pixels.astype(float), expected, atol=1)


def test_float_samples_that_are_no_colour_are_black_or_white(encoded: Encode) -> None:
    samples = np.array([[-5.0, np.nan, 0.0, 1.0]], np.float32).repeat(4, axis=0)
    row = read_image(encoded(Image.fromarray(samples), "TIFF")).pixels[0, :, 0]
    assert (row[0], row[80], row[-1]) == (0, 0, 255)


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_only_the_first_of_many_frames_counts(encoded: Encode, name: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    data = encoded(frames[0], name, save_all=True, append_images=frames[1:])
    assert mean_difference(read_image(data).pixels, np.full((224, 224, 3), (255, 0, 0), np.uint8)) < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_exif_orientation_of_the_same_picture_gives_the_same_pixels(
    drawing: Image.Image, encoded: Encode, name: str, orientation: int
) -> None:
    options = (LOSSLESS | LOSSY)[name] if name == "JPEG" else LOSSLESS[name]
    turned = Image.fromarray(stored(np.asarray(drawing), orientation))
    image = read_image(encoded(turned, name, exif=exif(orientation), **options))
    assert (image.width, image.height) == (120, 80)
    if name == "JPEG":
        assert mean_difference(image.pixels, square(drawing)) < 2
    else:
        np.testing.assert_allclose(image.pixels.astype(int), square(drawing).astype(int), atol=1)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_unknown_orientation_counts_as_upright(drawing: Image.Image, encoded: Encode, orientation: int) -> None:
    image = read_image(encoded(drawing, "PNG", exif=exif(orientation)))
    np.testing.assert_array_equal(image.pixels, square(drawing))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_metadata_count_as_upright(drawing: Image.Image, encoded: Encode) -> None:
    image = read_image(encoded(drawing, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    np.testing.assert_array_equal(image.pixels, square(drawing))
