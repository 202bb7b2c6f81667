"""Whatever the bytes: an image or an `ImageError`, within a second and 200 MB."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from bench import hostile
from model.errors import CorruptImageError, ImageError
from model.formats.jpeg import MAX_SCANS
from model.image import FORMATS, read_image

# Pillow says of damaged metadata that they are.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

MAX_PIXELS = 10_000_000
"""Within 200 MB: at the default of five times as many, one photo with transparency takes twice that."""
SECONDS = 1.0
MEBIBYTES = 200


def picture(mode: str = "RGB", size: tuple[int, int] = (97, 61)) -> Image.Image:
    image = Image.new("RGB", size, "seagreen")
    pencil = ImageDraw.Draw(image)
    pencil.ellipse((10, 5, 60, 50), fill="tomato", outline="navy")
    pencil.line((0, 60, 96, 0), fill="white", width=3)
    return image.convert(mode)


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    return hostile.encoded(image, name, **options)


def whole_files() -> list[bytes]:
    """Returns a small file of every accepted format, with most of the ways in which each can store pixels."""
    files = [encoded(picture(), name) for name in FORMATS]
    files += [encoded(picture(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGBA", "I;16")]
    files += [
        encoded(picture(), "JPEG", progressive=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
        encoded(picture("CMYK"), "JPEG"),
    ]
    files += [encoded(picture("RGBA"), "WEBP", lossless=True), encoded(picture("CMYK"), "TIFF")]
    files += [encoded(picture(), "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")]
    frames = [picture().rotate(30 * index) for index in range(3)]
    files += [encoded(frames[0], name, save_all=True, append_images=frames[1:]) for name in ("GIF", "PNG", "WEBP")]
    return files


FILES = whole_files()


def resident_peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


@pytest.fixture(scope="module", autouse=True)
def bounded_memory() -> Iterator[None]:
    """Checks the bound for all tests of this file together."""
    forget = Path("/proc/self/clear_refs")
    if not forget.exists():
        pytest.skip("expected /proc, which tells the peak of memory; found none")
    forget.write_text("5")  # sets the peak to what is resident now
    before = resident_peak_mib()
    yield
    assert resident_peak_mib() - before < MEBIBYTES


def obeys(data: bytes) -> bool:
    """Returns whether bytes were an image; an `ImageError` is the only other way out."""
    begun = time.process_time()
    try:
        pixels = read_image(data, max_pixels=MAX_PIXELS).pixels
    except ImageError:
        return False
    finally:
        assert time.process_time() - begun < SECONDS
    assert pixels.shape == (224, 224, 3)
    return True


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Damages a whole file: other bytes, numbers blown up, parts cut out, repeated, or taken from another file."""
    data = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(data) - 1)))
        end = min(len(data), start + draw(st.integers(1, 64)))
        match draw(st.sampled_from(("byte", "number", "cut", "repeat", "end", "splice"))):
            case "byte":
                data[start : start + 1] = bytes([draw(st.integers(0, 255))])
            case "number":
                data[start : start + 4] = draw(
                    st.sampled_from((b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4), b"\0\0\xff\xff"))
                )
            case "cut":
                del data[start:end]
            case "repeat":
                data[end:end] = data[start:end] * draw(st.integers(1, 50))
            case "end":
                del data[start:]
            case "splice":
                other = draw(st.sampled_from(FILES))
                data[start:] = other[draw(st.integers(0, len(other) - 1)) :]
    return bytes(data)


BOUNDED = settings(max_examples=400, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])


@BOUNDED
@given(mutated())
def test_a_damaged_file_is_an_image_or_an_image_error(data: bytes) -> None:
    obeys(data)


@BOUNDED
@given(st.binary(max_size=4096))
def test_any_bytes_are_an_image_error(data: bytes) -> None:
    assert not obeys(data)


@pytest.mark.parametrize("index", range(len(FILES)))
def test_whole_files_are_images_and_their_first_halves_are_not_lost_in(index: int) -> None:
    assert obeys(FILES[index])
    for share in range(20):
        obeys(FILES[index][: len(FILES[index]) * share // 20])


ALONE = b"\xff\x01\xff\xff"
"""A marker without a length, then bytes that would be one, of 64 KiB, if it had."""


@pytest.mark.parametrize(("name", "between"), [("JPEG", b""), ("JPEG", ALONE), ("MPO", b""), ("MPO", ALONE)])
def test_a_progressive_jpeg_of_many_scans_is_refused(name: str, between: bytes) -> None:
    image = picture(size=(800, 600))
    others = {"save_all": True, "append_images": [image]} if name == "MPO" else {}
    data = encoded(image, name, progressive=True, **others)
    assert obeys(data)
    last = data.rindex(b"\xff\xda", 0, data.index(b"\xff\xd9"))
    end = data.index(b"\xff\xd9")
    bomb = data[:last] + (data[last:end] + between) * 50_000 + data[end:]
    with pytest.raises(CorruptImageError, match=f"at most {MAX_SCANS} scans at this size, received more"):
        read_image(bomb)
    assert not obeys(bomb)


def test_scans_in_metadata_do_not_count() -> None:
    segment = b"\xff\xe5" + (2 + 60_000).to_bytes(2, "big") + b"\xff\xda\x00\x02" * 15_000
    data = encoded(picture(), "JPEG")
    assert obeys(data[:2] + segment + data[2:])


def test_ten_thousand_frames_cost_one() -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    animation = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
    first = animation.index(b"\x21\xf9", 13)
    second = animation.index(b"\x21\xf9", first + 1)
    assert obeys(animation[:second] + animation[second:-1] * 10_000 + b"\x3b")


@pytest.mark.parametrize("compressed", [False, True])
def test_huge_text_is_refused_or_skipped(compressed: bool) -> None:
    text = PngInfo()
    text.add_text("Comment", "a" * 30_000_000, zip=compressed)
    obeys(encoded(picture(), "PNG", pnginfo=text))


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_huge_colour_profile_is_refused_or_skipped(name: str) -> None:
    obeys(encoded(picture(), name, icc_profile=bytes(3_000_000)))
