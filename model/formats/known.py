"""The formats that are read, stated here alone: their names, endings and first bytes; and those refused by name.

The bytes decide, never a file name or a content type.
"""

import importlib.util
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from model.formats import bmp, gif, heif, jpeg, png, tiff, webp
from model.formats.header import Header
from model.formats.raw import raw_kind

HAS_HEIC = importlib.util.find_spec("pi_heif") is not None
"""Whether the library that decodes HEIC is installed (extra `heic`)."""


class _Format(NamedTuple):
    """One format: its name for people, the endings of its files, and what reads its headers."""

    title: str
    endings: tuple[str, ...]
    inspect: Callable[[bytes], Header]


_KNOWN: Mapping[str, _Format] = MappingProxyType(
    {
        "JPEG": _Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), jpeg.inspect),
        "PNG": _Format("PNG", (".png",), png.inspect),
        "WEBP": _Format("WebP", (".webp",), webp.inspect),
        "AVIF": _Format("AVIF", (".avif",), heif.inspect_avif),
        "GIF": _Format("GIF", (".gif",), gif.inspect),
        "BMP": _Format("BMP", (".bmp",), bmp.inspect),
        "TIFF": _Format("TIFF", (".tif", ".tiff"), tiff.inspect),
        "HEIF": _Format("HEIC", (".heic", ".heif", ".hif"), heif.inspect_heic),
    }
)

READERS: Mapping[str, Callable[[bytes], Header]] = MappingProxyType(
    {name: known.inspect for name, known in _KNOWN.items() if HAS_HEIC or name != "HEIF"}
)
"""By Pillow's names of the formats that are accepted here: what reads their headers."""

SUFFIXES = frozenset(ending for known in _KNOWN.values() for ending in known.endings)
"""File name endings of photos in folders; those of HEIC too where it is not read, so that it is refused by name."""

_TITLES = tuple(_KNOWN[name].title for name in READERS)

FORMATS_IN_WORDS = f"{', '.join(_TITLES[:-1])} or {_TITLES[-1]}"
"""The accepted formats, for messages: `JPEG, PNG, ... or TIFF`."""

_SIGNATURE = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)|(?P<PNG>\x89PNG)|(?P<WEBP>RIFF....WEBP)|(?P<GIF>GIF8)|(?P<BMP>BM....\0\0\0\0)"
    rb"|(?P<TIFF>II[*+]\0|MM\0[*+])",
    re.DOTALL,
)

_BRANDS: Mapping[bytes, str] = MappingProxyType(
    dict.fromkeys((b"avif", b"avis"), "AVIF")
    | dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIF")
)
_CONTAINER = frozenset({b"mif1", b"msf1"})
_BRANDS_END = 64
_START_BYTES = 512

_SAVE = "save it as JPEG or PNG"
_DEVELOP = "export it as JPEG from the program that develops it, or send the JPEG that the camera stored beside it"
_HEIC_ADVICE = (
    "save it as JPEG (an iPhone takes photos as JPEG with Settings, Camera, Formats, Most Compatible), or install what "
    "reads HEIC where this runs: pip install 'show-and-tell-server[heic]'"
)

_OTHERS = (
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n", "a JPEG XL photo", _SAVE),
    (rb"\0\0\0\x0cjP  \r\n|\xff\x4f\xff\x51", "a JPEG 2000 photo", _SAVE),
    (rb"....ftypcrx ", "a RAW photo (CR3)", _DEVELOP),
    (rb"II\x1a\0\0\0HEAPCCDR", "a RAW photo (CRW)", _DEVELOP),
    (rb"FUJIFILMCCD-RAW", "a RAW photo (RAF)", _DEVELOP),
    (rb"II(?:RO|RS)|MMOR", "a RAW photo (ORF)", _DEVELOP),
    (rb"IIU\0", "a RAW photo (RW2)", _DEVELOP),
    (rb"FOVb", "a RAW photo (X3F)", _DEVELOP),
    (rb"\0MRM", "a RAW photo (MRW)", _DEVELOP),
    (rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI ", "a film", "save one picture of it as JPEG or PNG"),
    (rb"(?i:\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?(?:<svg|<!DOCTYPE svg))", "an SVG drawing",
     "open it in a browser or drawing program and save it as PNG"),
    (rb"%PDF-", "a PDF document", "save the picture in it as JPEG or PNG"),
    (rb"8BPS", "a Photoshop document (PSD)", _SAVE),
    (rb"\0\0[\x01\x02]\0", "an icon (ICO)", _SAVE),
)  # fmt: skip


def format_of(start: bytes) -> str | None:
    """Returns Pillow's name of the format that a file's first bytes tell; None for one that is none of these.

    HEIC is told even where it is not accepted.
    """
    if start[4:8] == b"ftyp":
        end = min(_BRANDS_END, int.from_bytes(start[:4], "big"))
        brands = (start[8:12], *(start[at : at + 4] for at in range(16, end, 4)))
        # Two brands tell the container alone; with nothing else it holds what phones write.
        return next(
            (_BRANDS[brand] for brand in brands if brand in _BRANDS), "HEIF" if _CONTAINER & set(brands) else None
        )
    signature = _SIGNATURE.match(start)
    return signature.lastgroup if signature else None


def refusal(data: bytes) -> str | None:
    """Returns why a file is not of an accepted format, and what to do; None where it is of one.

    Args:
        data: The whole file.
    """
    found = format_of(data[:_START_BYTES])
    if found == "TIFF" and (kind := raw_kind(data)):
        return _refused(f"a RAW photo ({kind})", _DEVELOP)
    if found in READERS:
        return None
    if found == "HEIF":
        return _refused("a HEIC photo, which is not read here", _HEIC_ADVICE)
    for pattern, received, advice in _OTHERS:
        if re.match(pattern, data[:_START_BYTES], re.DOTALL):
            return _refused(received, advice)
    return _refused("bytes of no such format", "convert the file to JPEG or PNG")


def _refused(received: str, advice: str) -> str:
    return f"expected a {FORMATS_IN_WORDS} image, received {received}; {advice}"
