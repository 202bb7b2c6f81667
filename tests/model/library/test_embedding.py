"""Descriptions inside photos: other programs read them, and what was there stays, pixels bit for bit."""

import io
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageSequence

from model.errors import LibraryError
from model.library.embedding import directory
from model.library.embedding.files import check_format, described, description_of
from model.library.embedding.xmp import Description

NEW = Description("a dog & a cat", ["golden retriever", "tabby"])
NEXT = Description("a cat", ["tabby"])


def picture(mode: str = "RGB") -> Image.Image:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8))
    if mode == "RGBA":
        image.putalpha(90)
    return image.convert(mode)


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x010F] = "Maker"
    tags[0x0112] = 6
    tags[0x8769] = {0x9003: "2020:01:02 03:04:05"}
    return tags


def file(kind: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture(mode).save(buffer, kind, **options)
    return buffer.getvalue()


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

MAKERS: dict[str, Callable[[], bytes]] = {
    "plain.jpg": lambda: file("JPEG"),
    "full.jpg": lambda: file("JPEG", exif=exif(), icc_profile=PROFILE, comment=b"a comment", progressive=True),
    "pair.jpg": lambda: file("MPO", exif=exif(), save_all=True, append_images=[picture("L").convert("RGB")]),
    "grey.jpg": lambda: file("JPEG", "L"),
    "plain.png": lambda: file("PNG"),
    "full.png": lambda: file("PNG", "RGBA", exif=exif(), icc_profile=PROFILE),
    "lossy.webp": lambda: file("WEBP"),
    "lossless.webp": lambda: file("WEBP", "RGBA", lossless=True),
    "full.webp": lambda: file("WEBP", exif=exif(), icc_profile=PROFILE),
    "plain.tif": lambda: file("TIFF"),
    "packed.tif": lambda: file("TIFF", compression="tiff_lzw"),
    "pages.tif": lambda: file("TIFF", save_all=True, append_images=[picture("L")]),
    "big.tif": lambda: file("TIFF", big_tiff=True),
}


@pytest.fixture(params=MAKERS)
def photo(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    """Returns the name and the bytes of a photo."""
    return request.param, MAKERS[request.param]()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_a_description_is_written_and_replaced_and_the_rest_stays(photo: tuple[str, bytes]) -> None:
    name, data = photo
    once = described(data, NEW)
    twice = described(once, NEXT, NEW)
    assert [description_of(each) for each in (data, once, twice)] == ["", NEW.text, NEXT.text]
    before = opened(data)
    after = opened(twice)
    frames = [[frame.tobytes() for frame in ImageSequence.Iterator(image)] for image in (before, after)]
    assert frames[0] == frames[1]
    before.seek(0)
    after.seek(0)
    assert (before.mode, before.size, getattr(before, "n_frames", 1)) == (
        after.mode, after.size, getattr(after, "n_frames", 1),
    )  # fmt: skip
    assert before.info.get("icc_profile") == after.info.get("icc_profile")
    assert before.info.get("comment") == after.info.get("comment")
    tags = dict(after.getexif())
    assert tags.pop(directory.DESCRIPTION) == NEXT.text
    if not name.endswith(".tif"):
        offset = 0x8769  # where the directory of the camera's tags begins; it may move
        assert {tag: value for tag, value in tags.items() if tag != offset} == {
            tag: value for tag, value in before.getexif().items() if tag != offset
        }
        assert after.getexif().get_ifd(offset) == before.getexif().get_ifd(offset)


def image_data(name: str, data: bytes) -> bytes:
    """Returns the stored pixels of a file, by the rules of its format."""
    if name.endswith(".jpg"):
        return data[data.index(b"\xff\xda") :]
    if name.endswith(".png"):
        return data[data.index(b"IDAT") - 4 :]
    if name.endswith(".webp"):
        begin = next(data.index(kind) for kind in (b"VP8 ", b"VP8L") if kind in data)
        return data[begin : begin + 8 + struct.unpack_from("<I", data, begin + 4)[0]]
    return data[16:]


def test_stored_pixels_are_the_same_bit_for_bit(photo: tuple[str, bytes]) -> None:
    name, data = photo
    before = image_data(name, data)
    after = image_data(name, described(data, NEW))
    # A TIFF only grows; in the other formats the image is a part of its own.
    assert after[: len(before)] == before if name.endswith(".tif") else after == before


@pytest.mark.skipif(shutil.which("exiv2") is None, reason="exiv2 is not installed")
def test_exiv2_reads_what_was_written(photo: tuple[str, bytes], tmp_path: Path) -> None:
    name, data = photo
    if name == "big.tif":
        pytest.skip("exiv2 reads no BigTIFF")
    path = tmp_path / name
    path.write_bytes(described(described(data, NEW), NEXT, NEW))
    read = subprocess.run(["exiv2", "-K", "Exif.Image.ImageDescription", "-K", "Xmp.dc.description", "-K",
                           "Xmp.dc.subject", "-K", "Xmp.digiKam.TagsList", "-Pkt", str(path)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    found = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1].strip() for line in read.stdout.splitlines()}
    assert found == {
        "Exif.Image.ImageDescription": "a cat",
        "Xmp.dc.description": 'lang="x-default" a cat',
        "Xmp.dc.subject": "tabby",
        "Xmp.digiKam.TagsList": "tabby",
    }
    assert read.stderr == ""


@pytest.mark.parametrize(
    "text", ["OLYMPUS DIGITAL CAMERA         ", "SONY DSC", "          ", "DCIM\\100MEDIA\\DJI_0012.JPG"]
)
def test_what_cameras_write_by_themselves_is_no_description(text: str) -> None:
    tags = Image.Exif()
    tags[directory.DESCRIPTION] = text
    assert description_of(file("JPEG", exif=tags)) == ""


def test_what_someone_wrote_is_a_description() -> None:
    tags = Image.Exif()
    tags[directory.DESCRIPTION] = "Grandmother in 1962"
    assert description_of(file("JPEG", exif=tags)) == "Grandmother in 1962"


def test_notes_of_camera_makers_stay_where_they_are() -> None:
    # Such notes hold offsets that count from the beginning of the block: nothing in front of them may move.
    block = b"II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\x06\0\0\0\x1a\0\0\0\0\0\0\0Maker\0" + b"notes at their place"
    grown = directory.with_values(block, {directory.DESCRIPTION: b"text that is long\0"})
    assert grown[8 : len(block)] == block[8:]
    assert directory.value_in(grown, directory.DESCRIPTION) == b"text that is long\0"


def test_a_jpeg_whose_exif_is_full_gets_xmp_alone() -> None:
    tags = Image.Exif()
    tags[0x010F] = "x" * 65_460
    data = described(file("JPEG", exif=tags), NEW)
    assert description_of(data) == NEW.text
    assert directory.DESCRIPTION not in opened(data).getexif()
    assert opened(data).getexif()[0x010F] == "x" * 65_460


def test_a_jpeg_whose_other_pictures_would_be_lost_is_refused() -> None:
    data = MAKERS["pair.jpg"]()
    begin = data.index(b"\xff\xe1")
    end = begin + 2 + int.from_bytes(data[begin + 2 : begin + 4], "big")
    offsets = data.index(b"\xff\xe2", end)
    behind = offsets + 2 + int.from_bytes(data[offsets + 2 : offsets + 4], "big")
    moved = data[:begin] + data[end:behind] + data[begin:end] + data[behind:]
    assert opened(moved).getexif() == opened(data).getexif()
    with pytest.raises(LibraryError, match="use --write xmp"):
        described(moved, NEW)


def test_a_packed_packet_in_a_png_is_read() -> None:
    plain = described(file("PNG"), NEW)
    begin = plain.index(b"iTXt") - 4
    length = struct.unpack_from(">I", plain, begin)[0]
    keyword = b"XML:com.adobe.xmp\0"
    content = plain[begin + 8 : begin + 8 + length]
    packed = keyword + b"\1\0\0\0" + zlib.compress(content[len(keyword) + 4 :])
    chunk = struct.pack(">I", len(packed)) + b"iTXt" + packed + struct.pack(">I", zlib.crc32(b"iTXt" + packed))
    assert description_of(plain[:begin] + chunk + plain[begin + 12 + length :]) == NEW.text


@pytest.mark.parametrize("data", [b"GIF89a", file("BMP"), file("GIF"), b""])
def test_other_formats_are_refused_with_advice(data: bytes) -> None:
    with pytest.raises(LibraryError, match="use --write xmp"):
        described(data, NEW)


def test_a_raw_file_is_not_taken_for_a_tiff() -> None:
    with pytest.raises(LibraryError, match="perhaps a raw file"):
        check_format(file("TIFF"), "a.dng")


@pytest.mark.parametrize("name", MAKERS)
def test_a_damaged_file_is_refused_or_stays_readable(name: str) -> None:
    data = MAKERS[name]()
    random = np.random.default_rng(5)
    for _ in range(30):
        damaged = bytearray(data)
        damaged[random.integers(0, min(len(data), 700))] ^= int(random.integers(1, 256))
        for broken in (bytes(damaged), data[: random.integers(0, len(data))]):
            try:
                changed = described(broken, NEW)
            except LibraryError:
                continue
            assert NEW.text.encode() in changed
