"""What is no image, is damaged or is too large: always an ImageError of the right kind, and nothing else."""

import struct
import time
import warnings
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench import hostile
from model.errors import CorruptImageError, ImageError, ImageTooLargeError, UnsupportedImageError
from model.formats.known import FORMATS_IN_WORDS, HAS_HEIC
from model.image import FORMATS, DecodedImage, read_image

Encode = Callable[..., bytes]


def noise(mode: str, name: str, size: tuple[int, int] = (40, 30)) -> bytes:
    """Returns a file of noise, which no format compresses to a few bytes."""
    samples = np.random.default_rng(5).integers(0, 256, (size[1], size[0], 4), np.uint8)
    return hostile.encoded(Image.fromarray(samples, "RGBA").convert(mode), name)


FILES = {
    "JPEG": noise("RGB", "JPEG"),
    "grey JPEG": noise("L", "JPEG"),
    "CMYK JPEG": noise("CMYK", "JPEG"),
    "PNG": noise("RGB", "PNG"),
    "RGBA PNG": noise("RGBA", "PNG"),
    "palette PNG": noise("P", "PNG"),
    "16-bit PNG": noise("I;16", "PNG"),
    "WebP": noise("RGBA", "WEBP"),
    "GIF": noise("P", "GIF"),
    "BMP": noise("RGB", "BMP"),
    "TIFF": noise("RGB", "TIFF"),
    "float TIFF": noise("F", "TIFF"),
    "AVIF": noise("RGBA", "AVIF"),
}
if HAS_HEIC:
    FILES["HEIC"] = noise("RGBA", "HEIF")


def png_header(width: int, height: int) -> bytes:
    """Returns a PNG that claims a size and ends early."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def bmp_header(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)


def gif_header(width: int, height: int) -> bytes:
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00\x3b"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + image


def outcome(data: bytes) -> DecodedImage | ImageError:
    """Reads as a server does, where Pillow's warnings go to the log."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read_image(data)
        except ImageError as error:
            return error


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"just forty bytes of text, not an image ..",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"<?xml version='1.0'?><svg/>",
        b"<!doctype html><img src=photo.jpg>",
        b"%PDF-1.7\n",
        b"PK\x03\x04",
        b"8BPS\0\x01",
        b"P6 1 1 255 \0\0\0",
        b"\0" * 10_000,
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"BMW drives past a red hat",
    ],
    ids=["empty", "byte", "text", "svg", "xml", "html", "pdf", "zip", "psd", "ppm", "zeros", "wav", "bm-text"],
)
def test_bytes_of_no_accepted_format_are_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedImageError, match=f"expected a {FORMATS_IN_WORDS} image"):
        read_image(data)


@pytest.mark.parametrize("name", ["ICO", "PPM", "PCX", "TGA", "SGI", "JPEG2000", "EPS", "PDF"])
def test_a_format_that_pillow_knows_but_is_not_accepted_is_unsupported(encoded: Encode, name: str) -> None:
    assert name not in FORMATS
    with pytest.raises(UnsupportedImageError):
        read_image(encoded(Image.new("RGB", (32, 32), "red"), name))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_file_is_corrupt(name: str, share: float) -> None:
    data = FILES[name]
    assert isinstance(outcome(data), DecodedImage)
    error = outcome(data[: int(len(data) * share)])
    assert isinstance(error, CorruptImageError)
    assert "expected a whole" in str(error)


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_within_its_header_is_corrupt(name: str) -> None:
    error = outcome(FILES[name][:16])
    assert isinstance(error, CorruptImageError)
    assert "expected a whole" in str(error)


@pytest.mark.parametrize(
    "data",
    [png_header(40_000, 40_000), gif_header(65_535, 65_535), bmp_header(40_000, 40_000), bmp_header(2**31 - 1, 2**30)],
    ids=["png", "gif", "bmp", "largest-bmp"],
)
def test_a_gigantic_image_is_refused_from_its_header_at_once(data: bytes) -> None:
    started = time.process_time()
    with pytest.raises(ImageTooLargeError, match="expected at most 50000000 pixels"):
        read_image(data)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("action", ["error", "ignore"])
def test_an_image_that_pillow_only_warns_of_is_refused(action: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error" if action == "error" else "ignore")
        with pytest.raises(ImageTooLargeError):
            read_image(png_header(10_000, 10_000))


def test_the_limit_of_pixels_is_inclusive_and_named(drawing: Image.Image, encoded: Encode) -> None:
    data = encoded(drawing, "PNG")
    assert read_image(data, max_pixels=9600).width == 120
    with pytest.raises(ImageTooLargeError, match=r"expected at most 9599 pixels .+ received 120x80"):
        read_image(data, max_pixels=9599)


def test_the_limit_may_be_raised_above_the_default(encoded: Encode) -> None:
    data = encoded(Image.new("1", (10_000, 5_001)), "PNG")
    with pytest.raises(ImageTooLargeError, match="10000x5001"):
        read_image(data)
    assert read_image(data, max_pixels=60_000_000).height == 5001


@given(st.binary(max_size=300))
def test_any_bytes_give_an_image_or_an_image_error(data: bytes) -> None:
    assert isinstance(outcome(data), DecodedImage | ImageError)


@given(st.sampled_from(sorted(FILES)), st.binary(max_size=300), st.integers(2, 60))
def test_any_bytes_after_a_true_header_give_an_image_or_an_image_error(name: str, data: bytes, kept: int) -> None:
    assert isinstance(outcome(FILES[name][:kept] + data), DecodedImage | ImageError)


@settings(max_examples=400)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_a_mutated_file_gives_an_image_or_an_image_error(name: str, data: st.DataObject) -> None:
    mutated = bytearray(FILES[name])
    # Most of what can be told wrong stands in the first bytes, or the last of a TIFF.
    positions = st.integers(0, 120) | st.integers(-150, -1) | st.integers(0, len(mutated) - 1)
    for position in data.draw(st.lists(positions, min_size=1, max_size=6)):
        mutated[position] = data.draw(st.integers(0, 255))
    result = outcome(bytes(mutated))
    assert isinstance(result, DecodedImage | ImageError)
    if isinstance(result, DecodedImage):
        assert (result.pixels.shape, result.pixels.dtype.name) == ((224, 224, 3), "uint8")


def test_a_tiny_tiff_with_a_huge_tile_is_too_large() -> None:
    # A 1x1 image in one deflated tile of 12000x12000: libtiff would decode the whole tile.
    tile = zlib.compress(bytes(16), 9)
    sides = (12_000, 12_000)
    tags = [(256, 1), (257, 1), (258, 8), (259, 8), (262, 1), (277, 1), (322, sides[0]), (323, sides[1]), (324, 0)]
    tags.append((325, len(tile)))
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, start if tag == 324 else value) for tag, value in tags)
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + tile
    with pytest.raises(ImageTooLargeError, match="pixels"):
        read_image(data)
