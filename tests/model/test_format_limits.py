"""What is refused from headers alone, at which number, in how little time; and that large images are resized alike."""

import contextlib
import io
import struct
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bench import hostile
from model.errors import CorruptImageError, ImageError, ImageTooLargeError
from model.formats.header import MAX_PARTS, Header
from model.formats.jpeg import MAX_SEGMENTS
from model.image import (
    BAND_PIXELS,
    BYTES_PER_PIXEL,
    MAX_ASPECT_RATIO,
    MAX_PIXELS,
    MAX_SIDE_PIXELS,
    inspect_image,
    max_decoded_bytes,
    read_image,
    to_square,
)
from tests.fuzz.corpus import encoded, files, picture, png_chunk

FILES = files()
PIXELS = np.random.default_rng(8).integers(0, 256, (1101, 1000, 4), np.uint8)


def jpeg_of_comments(parts: int) -> bytes:
    """Returns a JPEG of so many segments in all."""
    data = encoded(picture(), "JPEG")
    own = 1  # the end of the image
    position = 2
    while data[position + 1] != 0xDA:
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        own += 1
    return data[:2] + b"\xff\xfe\0\x02" * (parts - own - 2) + data[2:]


def jpeg_of_tables(tables: int) -> bytes:
    """Returns a JPEG with so many segments that a decoder needs in front of its scan."""
    data = encoded(picture("L"), "JPEG", qtables=[[1] * 64])
    head = data[: data.index(b"\xff\xda")]
    own = sum(head.count(b"\xff" + bytes([code])) for code in (0xE0, 0xDB, 0xC0, 0xC4))
    return data[:2] + b"\xff\xdd\0\x04\0\0" * (tables - own) + data[2:]


def png_of_chunks(parts: int) -> bytes:
    return hostile.chunk_flood(parts - 3)


def webp_of_chunks(parts: int) -> bytes:
    body = b"WEBP" + encoded(picture(), "WEBP", lossless=True)[12:] + b"noTe\0\0\0\0" * (parts - 1)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_of_blocks(parts: int) -> bytes:
    """Returns a GIF of an extension with many blocks; the extension and the image behind it are blocks too."""
    data = encoded(picture("P"), "GIF")
    at = 13 + (3 << (data[10] & 7) + 1)
    own = 2 if data[at : at + 2] == b"\x21\xf9" else 0
    return data[:at] + b"\x21\xfe" + b"\x01a" * (parts - 2 - own) + b"\0" + data[at:]


def tiff_of_strips(strips: int) -> bytes:
    return hostile.strip_flood(strips)


def tiff_of_tags(tags: int) -> bytes:
    return hostile.tag_flood(tags - 9)


@pytest.mark.parametrize(
    ("make", "most", "kind"),
    [
        (png_of_chunks, MAX_PARTS, "PNG chunks"),
        (webp_of_chunks, MAX_PARTS, "WebP chunks"),
        (gif_of_blocks, MAX_PARTS, "GIF blocks"),
        (jpeg_of_comments, MAX_SEGMENTS, "JPEG segments"),
        (jpeg_of_tables, 64, "tables of a JPEG"),
        (tiff_of_tags, 4096, "tags of a TIFF"),
    ],
)
def test_a_count_is_inclusive_and_named(make: Callable[[int], bytes], most: int, kind: str) -> None:
    assert isinstance(inspect_image(make(most)), Header)
    with pytest.raises(CorruptImageError, match=f"expected at most {most} {kind}, received more"):
        inspect_image(make(most + 1))


def test_the_count_of_strips_is_inclusive_and_named() -> None:
    # So many strips of a line each: tall enough that their image would be refused for its shape.
    with pytest.raises(ImageTooLargeError, match="sides of at most"):
        inspect_image(tiff_of_strips(MAX_PARTS))
    with pytest.raises(CorruptImageError, match=f"expected at most {MAX_PARTS} strips or tiles of a TIFF"):
        inspect_image(tiff_of_strips(MAX_PARTS + 1))


@pytest.mark.parametrize(("size", "most"), [((300, 200), 100), ((4000, 4000), 62), ((7000, 7000), 20)])
def test_the_count_of_scans_goes_by_the_size_and_is_inclusive(size: tuple[int, int], most: int) -> None:
    data = encoded(picture("L", (32, 32)), "JPEG", progressive=True)
    frame = data.index(b"\xff\xc2")
    data = data[: frame + 5] + struct.pack(">HH", *size) + data[frame + 9 :]
    last = data.rindex(b"\xff\xda")
    end = data.rindex(b"\xff\xd9")
    own = data.count(b"\xff\xda")
    assert isinstance(inspect_image(data[:end] + data[last:end] * (most - own) + data[end:]), Header)
    with pytest.raises(CorruptImageError, match=f"expected a JPEG of at most {most} scans at this size"):
        inspect_image(data[:end] + data[last:end] * (most - own + 1) + data[end:])


REFUSALS: dict[str, tuple[type[ImageError], str]] = {
    "exif flood": (CorruptImageError, "JPEG segments"),
    "comment flood": (CorruptImageError, "JPEG segments"),
    "scan flood": (CorruptImageError, "scans at this size"),
    "chunk flood": (CorruptImageError, "PNG chunks"),
    "tall PNG": (ImageTooLargeError, f"sides of at most {MAX_SIDE_PIXELS} pixels"),
    "tall TIFF": (ImageTooLargeError, f"sides of at most {MAX_SIDE_PIXELS} pixels"),
    "strip flood": (CorruptImageError, "strips or tiles of a TIFF"),
    "animated WebP": (ImageTooLargeError, "bytes to decode"),
    "comment GIF": (CorruptImageError, "GIF blocks"),
    "fill flood": (CorruptImageError, "a frame and then a scan"),
}


SMALLER: dict[str, Callable[[], bytes]] = {
    "chunk flood": lambda: hostile.chunk_flood(20_000),
    "exif flood": lambda: hostile.exif_flood(20_000),
    "comment flood": lambda: hostile.comment_flood(20_000),
    "strip flood": lambda: hostile.strip_flood(20_000),
    "tall PNG": lambda: hostile.png(1, hostile.TALL, b""),
    "tall TIFF": lambda: hostile.tiff(1, hostile.TALL, b"", compression=8),
}
"""Those that take seconds to make; the whole ones are sent to a server in `tests/server`."""


def test_every_flood_has_its_refusal() -> None:
    assert REFUSALS.keys() == hostile.REFUSED.keys()


@pytest.mark.parametrize("name", REFUSALS)
def test_a_flood_is_refused_at_once_with_what_was_expected(name: str) -> None:
    data = SMALLER.get(name, hostile.REFUSED[name])()
    kind, words = REFUSALS[name]
    begun = time.process_time()
    with pytest.raises(kind, match=f"expected .*{words}"):
        inspect_image(data)
    assert time.process_time() - begun < 0.5


@pytest.mark.parametrize(
    ("size", "is_accepted"),
    [
        ((MAX_SIDE_PIXELS, 66), True), ((66, MAX_SIDE_PIXELS), True), ((MAX_SIDE_PIXELS + 1, 66), False),
        ((66, MAX_SIDE_PIXELS + 1), False), ((2 * MAX_ASPECT_RATIO, 2), True), ((2 * MAX_ASPECT_RATIO + 1, 2), False),
        ((1, MAX_ASPECT_RATIO), True), ((1, MAX_ASPECT_RATIO + 1), False),
    ],
)  # fmt: skip
def test_limits_of_shape_are_inclusive_and_named(size: tuple[int, int], is_accepted: bool) -> None:
    data = hostile.png(*size, b"")
    if is_accepted:
        assert inspect_image(data).width == size[0]
        return
    with pytest.raises(ImageTooLargeError) as caught:
        inspect_image(data)
    for word in (f"at most {MAX_SIDE_PIXELS} pixels", f"at most {MAX_ASPECT_RATIO} times", f"{size[0]}x{size[1]}"):
        assert word in str(caught.value)


def test_the_limit_of_decoded_bytes_is_inclusive_and_named() -> None:
    data = encoded(Image.new("RGB", (2000, 1865)), "WEBP", lossless=True)
    taken = inspect_image(data).decoded_bytes
    most, rest = divmod(taken, BYTES_PER_PIXEL)
    assert (max_decoded_bytes(most), rest) == (taken, 0)
    assert read_image(data, max_pixels=most).width == 2000
    with pytest.raises(ImageTooLargeError, match=f"at most {taken - 10:,} bytes to decode, .* takes {taken:,}"):
        read_image(data, max_pixels=most - 1)


def test_a_low_limit_of_pixels_leaves_64_mib_to_decode_in() -> None:
    lower, higher = (encoded(Image.new("RGB", (2000, height)), "WEBP", lossless=True) for height in (1864, 1865))
    assert inspect_image(lower, max_pixels=2000 * 1864).height == 1864
    with pytest.raises(ImageTooLargeError, match=f"at most {64 * 1024**2:,} bytes to decode"):
        inspect_image(higher, max_pixels=2000 * 1865)


MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F", "I;16", "I;16B")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1000, 1101), (224, 700), (225, 226), (223, 640), (641, 225), (700, 100)])
def test_resizing_in_bands_is_resizing_at_once(mode: str, size: tuple[int, int]) -> None:
    one, other = _both_ways(_noise(mode, size))
    assert np.array_equal(one, other)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(225, 641), (300, 640)])
def test_tall_images_are_resized_in_bands_to_within_a_level(mode: str, size: tuple[int, int]) -> None:
    # Pillow makes them shorter first when it resizes at once, and rounds between the two steps.
    one, other = _both_ways(_noise(mode, size))
    assert np.abs(one.astype(int) - other).max() <= (4 if mode in ("LA", "RGBA") else 1)


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_what_shines_through_is_resized_alike_in_bands(mode: str) -> None:
    image = _noise(mode, (640, 300))
    image.info["transparency"] = (1, 2, 3) if mode == "RGB" else 3
    one, other = _both_ways(image)
    assert np.array_equal(one, other)


def _noise(mode: str, size: tuple[int, int]) -> Image.Image:
    image = Image.fromarray(PIXELS[: size[1], : size[0]].copy(), "RGBA")
    if mode.startswith("I;16"):
        samples = PIXELS[: size[1], : size[0], :2].copy().view(">u2" if mode == "I;16B" else "<u2")
        return Image.frombytes(mode, size, samples.tobytes())
    return image.convert(mode)


def _both_ways(image: Image.Image) -> list[np.ndarray]:
    """Returns an image resized at once, and in bands: of 7 lines, or as large as they are, where it is large."""
    band_pixels = 7 * image.width if image.height < 1000 else BAND_PIXELS
    whole = image.width * image.height
    return [np.asarray(to_square(image, band_pixels=pixels)) for pixels in (whole, band_pixels)]


@given(st.sampled_from(sorted(FILES)), st.integers(2, 90), st.binary(max_size=300))
def test_any_bytes_behind_a_true_header_are_inspected_or_refused(name: str, kept: int, others: bytes) -> None:
    data = FILES[name]
    for hostile_bytes in (data[:kept] + others, data[:kept] + others + data[kept + len(others) :]):
        try:
            header = inspect_image(hostile_bytes)
        except ImageError:
            continue
        assert 1 <= header.orientation <= 8
        assert header.width * header.height <= header.largest_pixels <= MAX_PIXELS


REPEATED = {
    "JPEG": (b"\xff\xfe\0\x02", b"\xff", b"\xff\xff\0", b"\xff\xd0", b"\xff\xe1\0\0", b"\xff\xda\0\x02", b"\xff\xd8"),
    "PNG": (png_chunk(b"IDAT", b""), png_chunk(b"eXIf", b"II*\0"), png_chunk(b"IHDR", b""), b"\0"),
    "WebP": (b"VP8 \0\0\0\0", b"EXIF\0\0\0\0", b"ANMF\x08\0\0\0RIFFWEBP", b"\0"),
    "GIF": (b"\x21\xf9\0", b"\x21\xfe\x01a\0", b"\x21\xff", b"a", b"\x21\xfe\0\x2c"),
    "BMP": (b"\0",),
    "TIFF": (b"\0", struct.pack("<HHII", 273, 4, 1, 8), struct.pack("<HHII", 258, 3, 500_000, 8)),
}
BEGINS = {
    "JPEG": (b"\xff\xd8\xff\xe0\0\x02", FILES["JPEG progressive"][:-2]),
    "PNG": (FILES["PNG RGB"][:33],),
    "WebP": (b"RIFF\xff\xff\xff\x7fWEBP", b"RIFF\xff\xff\xff\x7fWEBP" + FILES["WebP RGB"][12:]),
    "GIF": (b"GIF89a\x08\0\x08\0\0\0\0", FILES["GIF P"][:-1]),
    "BMP": (FILES["BMP RGB"][:54],),
    "TIFF": (b"II*\0\x08\0\0\0\xff\xff", b"II*\0\x08\0\0\0\xff\x0f", b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\xff\x0f"),
}  # fmt: skip


@pytest.mark.parametrize("name", REPEATED)
def test_four_megabytes_of_whatever_is_repeated_take_less_than_a_second(name: str) -> None:
    for begin in BEGINS[name]:
        for piece in REPEATED[name]:
            data = begin + piece * (4_000_000 // len(piece))
            begun = time.process_time()
            with contextlib.suppress(ImageError):
                inspect_image(data)
            assert time.process_time() - begun < 1


def test_sixteen_bits_of_grey_in_either_byte_order_are_the_same() -> None:
    samples = PIXELS[:50, :60, :2].copy().view("<u2")
    little = read_image(encoded(Image.frombytes("I;16", (60, 50), samples.tobytes()), "TIFF")).pixels
    big = read_image(encoded(Image.frombytes("I;16B", (60, 50), samples.byteswap().tobytes()), "TIFF")).pixels
    assert np.array_equal(little, big)
    assert little.max() > 200


def test_a_jpeg_that_tells_one_component_and_leaves_out_others_counts_what_is_kept_for_them() -> None:
    # libjpeg waits for more scans, with all coefficients in memory, though none come.
    colours = encoded(picture(), "JPEG")
    grey = encoded(picture("L"), "JPEG")
    data = colours[: colours.index(b"\xff\xda")] + grey[grey.index(b"\xff\xda") :]
    assert inspect_image(data).decoded_bytes > 2 * 61 * 43 + inspect_image(colours).decoded_bytes


@pytest.mark.parametrize("length", [b"", b"\x01a", b"\x06\0\0\0\0,;"])
def test_a_gif_is_read_from_where_its_image_was_found(length: bytes) -> None:
    # Pillow reads on behind an extension that ends at once, and would find another image, of another size, there.
    hidden = b"\x2c" + struct.pack("<HHHHB", 0, 0, 6000, 6000, 0) + b"\x02"
    data = encoded(picture("P"), "GIF")
    at = data.index(b"\x2c\0\0\0\0")
    data = data[:at] + b"\x21\xf9" + length + b"\0" + data[at : at + 10] + hidden + data[at + 10 :]
    header = inspect_image(data)
    assert (header.width, header.height) == (61, 43)
    assert Image.open(io.BytesIO(header.data)).size == (61, 43)


def test_a_tiff_counts_what_libjpeg_holds_of_a_jpeg_in_scans_whatever_size_that_claims() -> None:
    plain, scans = (
        hostile.tiff(2000, 10, encoded(picture("L", (2000, 800)), "JPEG", progressive=is_progressive), compression=7)
        for is_progressive in (False, True)
    )
    assert inspect_image(plain).decoded_bytes == 2 * 2000 * 10
    assert inspect_image(scans).decoded_bytes == 2 * 2000 * 10 + 100 * 1024**2


def test_a_tiff_in_ycbcr_counts_its_buffer_of_rgb() -> None:
    colours = FILES["TIFF YCbCr deflated"]
    assert inspect_image(colours).decoded_bytes == (4 + 4) * 16 * 16


def test_a_small_bmp_of_lines_that_end_at_once_is_known_to_take_long() -> None:
    # Six kilobytes of which Pillow makes fifty megapixels, one by one.
    header = struct.pack("<IiiHHIIiiII", 40, 32_000, 1500, 1, 8, 1, 0, 0, 0, 256, 0)
    data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 1078) + header + bytes(1024) + b"\x01\x05\0\0" * 1500
    assert inspect_image(data).decode_seconds > 1
    assert inspect_image(data).decoded_bytes == 3 * 32_000 * 1500
