"""Photos of 10 and 12 bits in files of 16 are as bright as those of 8, and what uses all 16 bits stays as it was."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bench import hostile
from model.image import read_image
from tests.fuzz.corpus import png_chunk

RAMP = np.linspace(0, 1, 224)[None, :, None].repeat(224, axis=0)


def samples(top: int, channels: int) -> npt.NDArray[np.uint16]:
    return (RAMP * top).round().astype(np.uint16).repeat(channels, axis=2)


def deep_png(values: npt.NDArray[np.uint16]) -> bytes:
    """Returns a PNG of 16 bits a sample in three or four channels, which Pillow does not write."""
    height, width, channels = values.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def deep_tiff(values: npt.NDArray[np.uint16], compression: int = 1, order: str = "<") -> bytes:
    """Returns a TIFF of 16 bits a sample in three channels."""
    height, width, channels = values.shape
    pixels = values.astype(f"{order}u2").tobytes()
    pixels = zlib.compress(pixels) if compression == 8 else pixels
    tags = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, 8), (259, 3, 1, compression), (262, 3, 1, 2),
        (273, 4, 1, 16), (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(pixels)),
    ]  # fmt: skip
    body = struct.pack(f"{order}4H", *[16] * 4) + pixels
    begin = 8 + len(body) + len(body) % 2
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + (struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value))
        for tag, kind, count, value in tags
    )
    mark = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    return mark + struct.pack(f"{order}I", begin) + body.ljust(begin - 8, b"\0") + directory


WRITERS: dict[str, Any] = {
    "PNG": deep_png, "TIFF": deep_tiff, "deflated TIFF": lambda values: deep_tiff(values, 8),
    "big-endian TIFF": lambda values: deep_tiff(values, 1, ">"),
    "deflated big-endian TIFF": lambda values: deep_tiff(values, 8, ">"),
}  # fmt: skip


@pytest.mark.parametrize("top", [1023, 4095, 65535])
@pytest.mark.parametrize("name", WRITERS)
def test_colours_are_scaled_by_their_real_range(name: str, top: int) -> None:
    pixels = read_image(WRITERS[name](samples(top, 3))).pixels.astype(int)
    assert np.abs(pixels - RAMP * 255).max() <= 1.5


@pytest.mark.parametrize("top", [1023, 4095, 65535])
@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_grey_is_scaled_by_its_real_range(name: str, top: int) -> None:
    data = hostile.encoded(Image.fromarray(samples(top, 1)[..., 0]), name)
    assert np.abs(read_image(data).pixels.astype(int) - RAMP * 255).max() <= 1.5


def test_big_endian_grey_is_scaled_by_its_real_range() -> None:
    image = Image.frombytes("I;16B", (224, 224), samples(4095, 1).astype(">u2").tobytes())
    assert np.abs(read_image(hostile.encoded(image, "TIFF")).pixels.astype(int) - RAMP * 255).max() <= 1


@pytest.mark.parametrize("alpha", [4095, 65535])
def test_transparency_is_whole_in_either_range(alpha: int) -> None:
    values = np.dstack([samples(4095, 3), np.full((224, 224), alpha, np.uint16)])
    assert np.abs(read_image(deep_png(values)).pixels.astype(int) - RAMP * 255).max() <= 2


def test_one_bright_pixel_tells_that_all_bits_are_used() -> None:
    values = samples(1000, 3)
    values[7, 7] = 65535
    plain = Image.open(io.BytesIO(deep_png(values)))
    assert np.array_equal(read_image(deep_png(values)).pixels, np.asarray(plain))


@pytest.mark.parametrize("writer", [deep_png, deep_tiff])
def test_black_stays_black(writer: Any) -> None:
    assert read_image(writer(samples(200, 3))).pixels.max() == 0
