"""What is read from headers: the same as Pillow reads, and a file that holds the same pixels and nothing else."""

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from model.formats.header import Header
from model.image import inspect_image
from tests.fuzz.corpus import SIZE, encoded, files, picture, png_chunk

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

MARK = b"secret-mark"
ORIENTATION = 0x0112


# What Pillow does not read by itself has its tests in `test_containers`: HEIC, and a thumbnail in an AVIF.
FILES = {
    name: data for name, data in files().items() if not name.startswith("HEIF") and name != "AVIF with a thumbnail"
}


def decoded(data: bytes, name: str) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=[name])
    image.load()
    return image


def same(one: Image.Image, other: Image.Image) -> bool:
    """Returns whether two images have the same pixels in the same mode, with the same colours shining through."""
    clear = [image.info.get("transparency") for image in (one, other)]
    palettes = [image.getpalette() for image in (one, other)]
    return (one.mode, clear[0], palettes[0]) == (other.mode, clear[1], palettes[1]) and np.array_equal(
        np.asarray(one), np.asarray(other)
    )


@pytest.mark.parametrize("name", FILES)
def test_format_and_size_are_those_that_pillow_reads(name: str) -> None:
    header = inspect_image(FILES[name])
    image = Image.open(io.BytesIO(FILES[name]))
    assert header.format == ("JPEG" if image.format == "MPO" else image.format)
    assert (header.width, header.height) == image.size
    assert header.orientation == 1
    assert header.largest_pixels >= image.width * image.height


@pytest.mark.parametrize("name", FILES)
def test_what_is_kept_decodes_to_the_same_pixels_and_is_kept_again(name: str) -> None:
    header = inspect_image(FILES[name])
    assert same(decoded(header.data, header.format), decoded(FILES[name], header.format))
    again = inspect_image(header.data)
    # The directory of a TIFF is written once more, at the end; all that it says is the same.
    assert header.format == "TIFF" or again.data == header.data
    assert [getattr(again, field) for field in FIELDS] == [getattr(header, field) for field in FIELDS]
    assert same(decoded(again.data, header.format), decoded(header.data, header.format))


FIELDS = ("format", "width", "height", "largest_pixels", "decoded_bytes")


def exif(orientation: int, order: str = "<") -> bytes:
    """Returns a block of EXIF with a text in front of the orientation."""
    begin = b"II*\0" if order == "<" else b"MM\0*"
    entries = [
        struct.pack(f"{order}HHII", 0x010F, 2, len(MARK), 38),
        struct.pack(f"{order}HHIHxx", ORIENTATION, 3, 1, orientation),
    ]
    directory = struct.pack(f"{order}H", 2) + b"".join(entries) + struct.pack(f"{order}I", 0)
    return b"Exif\0\0" + begin + struct.pack(f"{order}I", 8) + directory + MARK


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("name", "options"), [("JPEG", {}), ("MPO", {}), ("PNG", {}), ("WEBP", {"lossless": True})])
def test_the_orientation_is_the_one_that_pillow_reads(
    name: str, options: dict[str, Any], order: str, orientation: int
) -> None:
    data = encoded(picture(), name, exif=exif(orientation, order), **options)
    header = inspect_image(data)
    told = Image.open(io.BytesIO(data)).getexif()[ORIENTATION]
    assert (told, header.orientation) == (orientation, orientation if 1 <= orientation <= 8 else 1)
    assert (header.width, header.height) == SIZE
    assert inspect_image(header.data).orientation == 1
    assert MARK not in header.data


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("big", [False, True])
def test_the_orientation_of_a_tiff_is_told_and_no_longer_applied_by_pillow(big: bool, orientation: int) -> None:
    options = {"compression": "tiff_lzw", "big_tiff": big}
    header = inspect_image(encoded(picture(), "TIFF", tiffinfo={ORIENTATION: orientation}, **options))
    assert (header.width, header.height, header.orientation) == (*SIZE, orientation)
    assert same(decoded(header.data, "TIFF"), picture())


def with_jpeg_segments() -> bytes:
    """Returns a JPEG with a text in every kind of segment that is no part of the image."""
    data = encoded(picture(), "JPEG", icc_profile=MARK * 9, xmp=MARK, exif=exif(6))
    contents = {
        0xFE: MARK,
        0xED: b"Photoshop 3.0\x008BIM" + MARK,
        0xE2: b"MPF\0" + MARK,
        0xEC: b"Ducky" + MARK,
        0xE0: b"JFXX\0" + MARK,
    }
    contents |= dict.fromkeys(range(0xE3, 0xEC), MARK) | {
        0xEE: MARK,
        0xEF: MARK,
        0xE1: b"http://ns.adobe.com/xap/1.0/\0" + MARK,
    }
    segments = b"".join(b"\xff" + bytes([code]) + struct.pack(">H", 2 + len(c)) + c for code, c in contents.items())
    return data[:2] + segments + data[2:] + MARK


def with_png_chunks() -> bytes:
    """Returns a PNG with a text in every kind of chunk that is no part of the image, before and behind its data."""
    text = PngInfo()
    text.add_text("Comment", MARK.decode())
    text.add_itxt("Title", MARK.decode())
    data = encoded(picture(), "PNG", pnginfo=text, icc_profile=MARK, exif=exif(3))
    kinds = (
        b"tEXt",
        b"iTXt",
        b"zTXt",
        b"eXIf",
        b"iCCP",
        b"tIME",
        b"pHYs",
        b"gAMA",
        b"cHRM",
        b"sRGB",
        b"acTL",
        b"fcTL",
        b"fdAT",
        b"noTe",
    )
    chunks = b"".join(png_chunk(kind, MARK) for kind in kinds)
    end = data.rindex(b"IEND") - 4
    return data[:33] + chunks + data[33:end] + chunks + data[end:] + MARK


def with_webp_chunks(**options: Any) -> bytes:
    """Returns a WebP with a text in every kind of chunk that is no part of the image."""
    data = encoded(picture(), "WEBP", icc_profile=MARK, exif=exif(8), xmp=MARK, lossless=True, **options)
    body = data[8:] + b"noTe" + struct.pack("<I", len(MARK)) + MARK + b"\0"
    return b"RIFF" + struct.pack("<I", len(body)) + body + MARK


def with_gif_blocks() -> bytes:
    """Returns a GIF with a text in every kind of block in front of its image that is no part of it."""
    data = encoded(picture("P"), "GIF", comment=MARK, transparency=2)
    at = data.index(b"\x21")
    block = bytes([len(MARK)]) + MARK + b"\0"
    return data[:at] + b"\x21\xff\x0bNETSCAPE2.0" + block + b"\x21\xfe" + block + b"\x21\x77" + block + data[at:]


@pytest.mark.parametrize(
    ("make", "plain"),
    [
        (with_jpeg_segments, "JPEG RGB"), (with_png_chunks, "PNG RGB"), (with_gif_blocks, "GIF transparent"),
        (with_webp_chunks, "WebP lossless RGB"),
        (lambda: with_webp_chunks(save_all=True, append_images=[picture().rotate(9)]), "WebP lossless RGB"),
    ],
    ids=["JPEG", "PNG", "GIF", "WebP", "animated WebP"],
)  # fmt: skip
def test_metadata_are_left_out(make: Callable[[], bytes], plain: str) -> None:
    data = make()
    assert data.count(MARK) > 2
    header = inspect_image(data)
    assert MARK not in header.data
    image = decoded(header.data, header.format)
    assert not {"exif", "icc_profile", "xmp", "comment", "photoshop"} & image.info.keys()
    assert same(image.convert("RGB"), decoded(FILES[plain], header.format).convert("RGB"))


def test_the_directory_of_a_tiff_has_no_entry_for_metadata() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag in (270, 271, 272, 305, 306, 315, 316, 700, 33432, 33723, 34377, 34675, 37724, 65000):
        tags.tagtype[tag] = 2
        tags[tag] = MARK.decode()
    data = encoded(picture(), "TIFF", tiffinfo=tags)
    assert data.count(MARK) > 10
    image = decoded(inspect_image(data).data, "TIFF")
    assert set(image.tag_v2) <= {256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 338, 339}  # type: ignore[attr-defined]
    assert same(image, picture())


def test_a_photo_may_tell_its_black_and_white_as_fractions() -> None:
    # As libtiff writes them with every JPEG in YCbCr.
    data = encoded(picture("YCbCr"), "TIFF", compression="jpeg")
    assert 532 in decoded(data, "TIFF").tag_v2  # type: ignore[attr-defined]
    assert inspect_image(data).format == "TIFF"


def test_only_the_first_directory_of_a_tiff_is_kept() -> None:
    data = encoded(picture(), "TIFF", save_all=True, append_images=[picture("L")])
    assert decoded(data, "TIFF").n_frames == 2  # type: ignore[attr-defined]
    assert decoded(inspect_image(data).data, "TIFF").n_frames == 1  # type: ignore[attr-defined]


def test_every_field_of_a_header_is_plausible() -> None:
    for data in FILES.values():
        header: Header = inspect_image(data)
        assert header.decoded_bytes >= header.width * header.height // 16
        assert 0 < header.decode_seconds < 0.1
        assert len(header.data) <= len(data) + 600  # a new directory of a TIFF
