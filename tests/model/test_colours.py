"""Colour profiles: what they do to a photo, and that one which is broken or hostile does nothing."""

import io
import time
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from model.colours import NEAR, to_srgb
from model.formats.icc import MAX_PROFILE_BYTES, rgb_profile
from model.image import inspect_image, read_image
from tests.fuzz import profiles
from tests.fuzz.containers import tiled
from tests.fuzz.corpus import encoded, picture, png_chunk
from tests.model.heic import HEIC, needs_heic

OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {}, "JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}, "TIFF": {},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"}, "HEIF": {"chroma": 444},
}  # fmt: skip
FORMATS = ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", HEIC]


def converted(image: Image.Image, profile: bytes) -> Image.Image:
    """Returns what LittleCMS makes of a whole image."""
    source, target = (ImageCms.getOpenProfile(io.BytesIO(data)) for data in (profile, profiles.SRGB["of LittleCMS"]))
    found = ImageCms.profileToProfile(image, source, target, ImageCms.Intent.RELATIVE_COLORIMETRIC)
    assert found is not None
    return found


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("profile", [profiles.DISPLAY_P3, profiles.ADOBE_RGB], ids=["Display P3", "Adobe RGB"])
def test_a_photo_with_a_profile_looks_as_if_it_had_been_saved_in_srgb(name: str, profile: bytes) -> None:
    image = picture()
    found = read_image(encoded(image, name, icc_profile=profile, **OPTIONS[name])).pixels.astype(int)
    expected = read_image(encoded(converted(image, profile), "PNG")).pixels
    unchanged = read_image(encoded(image, name, **OPTIONS[name])).pixels
    # Colours are converted once the photo is small, and edges are a little different for it.
    assert np.abs(found - expected).mean() < (1 if name in ("PNG", "WEBP", "TIFF") else 3)
    assert np.abs(found - unchanged).mean() > 3


def test_pure_red_of_display_p3_is_known() -> None:
    # (200, 50, 50) of Display P3 is (217.6, 23.8, 40.0) of sRGB, by the matrices of both.
    pixels = read_image(encoded(Image.new("RGB", (8, 8), (200, 50, 50)), "PNG", icc_profile=profiles.DISPLAY_P3)).pixels
    assert np.abs(pixels[0, 0].astype(int) - (218, 24, 40)).max() <= 1


@needs_heic
def test_the_profile_of_tiles_is_that_of_their_image() -> None:
    tile = encoded(picture(size=(64, 64)), "HEIF", icc_profile=profiles.DISPLAY_P3)
    assert inspect_image(tiled(tile, 2, 2)).profile == rgb_profile(profiles.DISPLAY_P3)


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_palettes_and_transparency_are_converted_too(mode: str) -> None:
    image = picture(mode)
    with_profile, without = (
        read_image(encoded(image, "PNG", icc_profile=profile)).pixels for profile in (profiles.ADOBE_RGB, b"")
    )
    assert not np.array_equal(with_profile, without)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("profile", profiles.SRGB)
def test_a_profile_of_srgb_changes_no_bit(name: str, profile: str) -> None:
    plain, told = (
        read_image(encoded(picture(), name, icc_profile=data, **OPTIONS[name])).pixels
        for data in (b"", profiles.SRGB[profile])
    )
    assert np.array_equal(plain, told)
    assert rgb_profile(profiles.SRGB[profile])


BOMBS = {"table": profiles.table_bomb(), "elements": profiles.element_bomb()}


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("profile", profiles.BROKEN)
def test_a_broken_profile_changes_no_bit(name: str, profile: str) -> None:
    plain, told = (
        read_image(encoded(picture(), name, icc_profile=data, **OPTIONS[name])).pixels
        for data in (b"", profiles.BROKEN[profile])
    )
    assert np.array_equal(plain, told)


@pytest.mark.parametrize("mode", ["L", "I;16", "CMYK", "LA", "1"])
def test_a_profile_of_three_colours_is_nothing_to_grey_and_cmyk(mode: str) -> None:
    name = "TIFF" if mode == "CMYK" else "PNG"
    plain, told = (
        read_image(encoded(picture(mode), name, icc_profile=data)).pixels for data in (b"", profiles.ADOBE_RGB)
    )
    assert np.array_equal(plain, told)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_nothing_since_only_matrix_and_curves_are_kept(name: str) -> None:
    begun = time.process_time()
    header = inspect_image(encoded(picture(), "PNG", icc_profile=BOMBS[name]))
    assert header.profile == rgb_profile(profiles.DISPLAY_P3)
    assert time.process_time() - begun < 0.5


def test_a_profile_that_unpacks_without_end_is_none() -> None:
    data = encoded(picture(), "PNG")
    bomb = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(profiles.DISPLAY_P3 + bytes(50 * MAX_PROFILE_BYTES), 9))
    begun = time.process_time()
    assert inspect_image(data[:33] + bomb + data[33:]).profile == b""
    assert time.process_time() - begun < 0.5


@pytest.mark.parametrize("chunk", [b"sRGB", b"cICP"])
def test_what_a_png_says_of_its_colours_elsewhere_comes_first(chunk: bytes) -> None:
    data = encoded(picture(), "PNG", icc_profile=profiles.DISPLAY_P3)
    assert inspect_image(data).profile
    assert inspect_image(data[:33] + png_chunk(chunk, b"\1\x0d\0\1") + data[33:]).profile == b""


def test_a_profile_in_pieces_is_put_together_in_their_order() -> None:
    tags = profiles.P3_TAGS | {b"text": bytes(90_000)}
    data = encoded(picture(), "JPEG", icc_profile=profiles.written(tags))
    first, second = (data.index(b"ICC_PROFILE\0" + bytes([number])) - 4 for number in (1, 2))
    end = second + 2 + int.from_bytes(data[second + 2 : second + 4], "big")
    swapped = data[:first] + data[second:end] + data[first:second] + data[end:]
    assert inspect_image(data).profile == inspect_image(swapped).profile == rgb_profile(profiles.DISPLAY_P3)
    assert inspect_image(data[:first] + data[second:]).profile == b""


def test_what_is_kept_of_a_profile_names_nobody_and_is_kept_again() -> None:
    kept = rgb_profile(profiles.DISPLAY_P3)
    assert b"mark" in profiles.DISPLAY_P3
    assert b"mark" not in kept
    assert rgb_profile(kept) == kept


@given(st.integers(0, len(profiles.DISPLAY_P3) - 1), st.binary(max_size=40))
def test_any_bytes_within_a_profile_give_an_image(at: int, others: bytes) -> None:
    hostile = profiles.DISPLAY_P3[:at] + others + profiles.DISPLAY_P3[at + len(others) :]
    image = picture(size=(8, 8))
    assert to_srgb(image, rgb_profile(hostile)).size == image.size


def test_a_profile_near_srgb_is_one_of_srgb() -> None:
    nearly = profiles.written(
        profiles.tags_of(
            ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7142)), profiles.SRGB_CURVE
        )
    )
    image = picture()
    assert to_srgb(image, rgb_profile(nearly)) is image
    assert NEAR < 5
