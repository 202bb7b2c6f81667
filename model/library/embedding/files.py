"""Image files with a description in them: in XMP, and in EXIF where the format has it."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from model.errors import ImageError, LibraryError
from model.image import inspect_image
from model.library.embedding import directory, jpeg, png, webp, xmp
from model.library.embedding.fields import Fields
from model.library.embedding.xmp import Description

_CAMERAS_OWN = re.compile(
    r"(olympus|minolta|konica|sony|samsung|kodak|pentax|casio|sanyo|nikon|digital camera|dsc|exif|dcim|media|default"
    r"|image|picture|pictures|camera|jpeg|photo|\W|_|\d|jpg|dji)*",
    re.IGNORECASE,
)
"""What cameras write as a description by themselves: their maker's name, or the name of the file."""

_SIGNATURE = re.compile(
    rb"(?P<jpeg>\xff\xd8\xff)|(?P<png>\x89PNG\r\n\x1a\n)|(?P<webp>RIFF....WEBP)|(?P<tiff>II[*+]\0|MM\0[*+])", re.DOTALL
)
_WEBP_CONTAINER_BYTES = 12
_READERS: Mapping[str, Callable[[bytes], Fields]] = MappingProxyType(
    {"jpeg": jpeg.read, "png": png.read, "webp": webp.read}
)
_WRITERS: Mapping[str, Callable[[bytes, Fields], bytes]] = MappingProxyType(
    {"jpeg": jpeg.written, "png": png.written, "webp": webp.written}
)


def description_of(data: bytes) -> str:
    """Returns the description that someone wrote into an image file; empty if no one has.

    Raises:
        LibraryError: The file is in no format that has one, or its metadata is damaged.
    """
    fields = _read(data)
    packet = fields.xmp.strip(b"\0")
    if text := xmp.description_in(packet) if packet else "":
        return text
    value = directory.value_in(fields.exif, directory.DESCRIPTION) if fields.exif else b""
    text = value.split(b"\0")[0].decode("utf-8", "replace").strip()
    return "" if _CAMERAS_OWN.fullmatch(text[:200]) else text


def described(data: bytes, new: Description, old: Description | None = None) -> bytes:
    """Returns an image file with a description; its pixels, and all metadata besides, stay as they are.

    Args:
        data: A JPEG, PNG, WebP or TIFF.
        new: What is written.
        old: What an earlier run wrote.

    Raises:
        LibraryError: The file is in another format, or its metadata is damaged.
    """
    fields = _read(data)
    packet = xmp.merged(fields.xmp.strip(b"\0"), new, old)
    text = new.text.encode() + b"\0"
    if _format(data) == "tiff":
        return directory.with_values(data, {directory.DESCRIPTION: text, directory.XMP: packet})
    exif = directory.with_values(fields.exif, {directory.DESCRIPTION: text})
    changed = _WRITERS[_format(data)](data, Fields(packet, exif))
    _check(data, changed)
    return changed


def check_format(data: bytes, name: str) -> None:
    """Makes sure that a file can be written into.

    Args:
        data: Its bytes.
        name: Its name; cameras' raw files are TIFFs too, and are told by it.

    Raises:
        LibraryError: It is in another format.
    """
    if _format(data) == "tiff" and not name.lower().endswith((".tif", ".tiff")):
        raise LibraryError("expected a TIFF named .tif or .tiff, received another, perhaps a raw file; use --write xmp")


def _format(data: bytes) -> str:
    found = _SIGNATURE.match(data)
    if found is None or found.lastgroup is None:
        raise LibraryError("expected a JPEG, PNG, WebP or TIFF to write into, received another format; use --write xmp")
    return found.lastgroup


def _read(data: bytes) -> Fields:
    name = _format(data)
    return Fields(directory.value_in(data, directory.XMP), data) if name == "tiff" else _READERS[name](data)


def _check(before: bytes, after: bytes) -> None:
    """Makes sure that what tells pixels is the same, as far as the readers of headers see."""
    try:
        old, new = (inspect_image(data, max_pixels=2**62) for data in (before, after))
    except ImageError as error:
        raise LibraryError(f"the photo cannot be written into: {error}") from error
    # A WebP may have got an extended header, which stands in front of the image.
    front = _WEBP_CONTAINER_BYTES if old.format == "WEBP" else 0
    is_same = new.data.endswith(old.data[front:]) if front else new.data == old.data
    if not is_same or old.orientation != new.orientation:
        raise LibraryError("expected the same pixels with the description as without, found others; use --write xmp")
