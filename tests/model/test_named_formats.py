"""Photos that are refused for their format hear which it is, and what to do."""

import struct
import subprocess
import sys

import pytest

from bench import hostile
from model.errors import UnsupportedImageError
from model.formats.known import FORMATS_IN_WORDS, HAS_HEIC, format_of
from model.image import FORMATS, SUFFIXES, is_image, read_image
from tests.fuzz.corpus import encoded, picture


def ftyp(*brands: bytes) -> bytes:
    return struct.pack(">I4s4s4x", 16 + 4 * (len(brands) - 1), b"ftyp", brands[0]) + b"".join(brands[1:]) + bytes(64)


def tiff_of(*entries: tuple[int, int, int], order: str = "<", maker: bytes = b"") -> bytes:
    """Returns the beginning of a TIFF with these tags: number, type and value."""
    tags = sorted([*entries, (256, 3, 160), (257, 3, 120)])
    begin = 8 + 2 + 12 * (len(tags) + bool(maker)) + 4
    rows = [
        struct.pack(f"{order}HHI", tag, kind, 1)
        + struct.pack(f"{order}HH" if kind == 3 else f"{order}I", *([value, 0] if kind == 3 else [value]))
        for tag, kind, value in tags
    ]
    if maker:
        rows.append(struct.pack(f"{order}HHII", 271, 2, len(maker), begin))
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}IH", 8, len(rows)) + b"".join(rows) + bytes(4) + maker


NAMED = {
    "JPEG XL photo": (b"\xff\x0a" + bytes(40), "save it as JPEG or PNG"),
    "JPEG XL photo ": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "save it as JPEG or PNG"),
    "JPEG 2000 photo": (b"\0\0\0\x0cjP  \r\n\x87\n", "save it as JPEG or PNG"),
    "RAW photo (CR2)": (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "export it as JPEG"),
    "RAW photo (CR3)": (ftyp(b"crx ", b"isom"), "export it as JPEG"),
    "RAW photo (NEF)": (tiff_of((254, 4, 1), (330, 4, 99), maker=b"NIKON CORPORATION\0"), "export it as JPEG"),
    "RAW photo (ARW)": (tiff_of((254, 4, 1), (330, 4, 99), maker=b"SONY\0\0"), "export it as JPEG"),
    "RAW photo (DNG)": (tiff_of((50706, 4, 0x0401), order=">"), "export it as JPEG"),
    "RAW photo (of a camera)": (tiff_of((262, 3, 32803), maker=b"Someone\0"), "export it as JPEG"),
    "RAW photo (RAF)": (b"FUJIFILMCCD-RAW 0201", "export it as JPEG"),
    "RAW photo (ORF)": (b"IIRO\x08\0\0\0", "export it as JPEG"),
    "RAW photo (RW2)": (b"IIU\0\x08\0\0\0", "export it as JPEG"),
    "film": (ftyp(b"isom", b"mp42"), "save one picture"),
    "SVG drawing": (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "save it as PNG"),
    "PDF document": (b"%PDF-1.7\n", "save the picture in it"),
    "Photoshop document (PSD)": (b"8BPS\0\1", "save it as JPEG or PNG"),
    "icon (ICO)": (b"\0\0\1\0\1\0", "save it as JPEG or PNG"),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_format_that_is_not_read_is_named_with_what_to_do(name: str) -> None:
    data, advice = NAMED[name]
    with pytest.raises(UnsupportedImageError) as caught:
        read_image(data)
    for words in (f"expected a {FORMATS_IN_WORDS} image", f" {name.strip()}", advice):
        assert words in str(caught.value)


def test_an_ordinary_tiff_of_a_camera_is_no_raw_photo() -> None:
    data = encoded(picture(), "TIFF", tiffinfo={271: "NIKON CORPORATION", 254: 0})
    assert read_image(data).width == 61


def test_brands_tell_avif_from_heic() -> None:
    assert format_of(ftyp(b"avif", b"mif1")) == format_of(ftyp(b"mif1", b"miaf", b"avif")) == "AVIF"
    assert format_of(ftyp(b"heic", b"mif1")) == format_of(ftyp(b"mif1", b"heic")) == format_of(ftyp(b"msf1")) == "HEIF"
    assert format_of(ftyp(b"isom", b"mp42")) is None
    assert format_of(struct.pack(">I", 2**32 - 1) + b"ftypqt  ") is None


def test_endings_and_formats_are_those_of_all_that_is_read() -> None:
    assert {".jpg", ".jpe", ".jfif", ".avif", ".heic", ".heif", ".tif"} <= SUFFIXES
    assert ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", *(["HEIF"] if HAS_HEIC else [])) == FORMATS
    assert all(is_image(hostile.encoded(picture(), name)[:64]) for name in FORMATS)


WITHOUT = """
import sys
class Hidden:
    def find_spec(self, name, *_):
        if name.split('.')[0] == 'pi_heif':
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
import importlib.util
finder = importlib.util.find_spec
importlib.util.find_spec = lambda name, *others: None if name == 'pi_heif' else finder(name, *others)
from model.image import FORMATS, read_image
from model.errors import UnsupportedImageError
assert 'HEIF' not in FORMATS and 'AVIF' in FORMATS
try:
    read_image(sys.stdin.buffer.read())
except UnsupportedImageError as error:
    print(error)
"""


def test_without_the_extra_a_heic_is_named_and_what_to_install() -> None:
    data = encoded(picture(), "HEIF")
    said = subprocess.run([sys.executable, "-c", WITHOUT], input=data, capture_output=True, check=True).stdout.decode()
    assert "HEIC photo" in said
    assert "HEIC image" not in said
    assert "pip install 'show-and-tell-server[heic]'" in said
    assert "save it as JPEG" in said
