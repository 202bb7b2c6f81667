"""Uploaded bytes to a (224, 224, 3) array: the only preprocessing in the project, used to train and to serve."""

import io
import re
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.config import IMAGE_PIXELS
from model.errors import CorruptImageError, ImageTooLargeError, UnsupportedImageError

MAX_PIXELS = 50_000_000
"""Largest width times height accepted by default, in pixels."""

MAX_SCANS = 100
"""Most scans of a JPEG; a progressive one has about ten, and each is decoded over the whole image."""

# "JPEG" opens MPO files too; naming "MPO" makes Pillow raise KeyError on unknown bytes.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Pillow's names of the accepted formats; the bytes decide, never a file name or a content type."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""File name endings by which photos are found in folders."""

_SIGNATURE = re.compile(rb"\xff\xd8\xff|\x89PNG|RIFF....WEBP|GIF8|BM....\0\0\0\0|II[*+]\0|MM\0[*+]", re.DOTALL)

# Not those that stand alone, without a length: 0x01 (TEM), and 0xd0 to 0xd7, which are within a scan.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xD9, 0xDA

# What Pillow's decoders are known to raise on hostile bytes.
_DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, AttributeError, ArithmeticError,
    NotImplementedError, RuntimeError, MemoryError, struct.error, zlib.error,
)  # fmt: skip

_ORIENTATION_TAG = 0x0112
_TILE_TAGS = (0x0142, 0x0143)
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """Holds one image ready for the encoder.

    Attributes:
        pixels: Upright RGB, stretched to the encoder's size. Shape (224, 224, 3), uint8.
        width: Width of the upright original, in pixels.
        height: Height of the upright original, in pixels.
    """

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int


def read_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Decodes the first frame of an image file, turns it upright and stretches it to the encoder's input.

    Transparency is laid over white, 16-bit samples are scaled to 8, EXIF orientation is applied, and the resize
    is bilinear with anti-aliasing, to exactly 224x224 without cropping.

    Args:
        data: The whole file, in one of `FORMATS`.
        max_pixels: Largest width times height, checked from the header before anything is decoded.

    Returns:
        The pixels and the original's upright size.

    Raises:
        UnsupportedImageError: The bytes are in no accepted format.
        ImageTooLargeError: The image has more than `max_pixels` pixels.
        CorruptImageError: The format is accepted, but the bytes are truncated or damaged.
    """
    image = _open(data, max_pixels)
    try:
        width, height = image.size
        if image.format == "JPEG":
            # Lets libjpeg decode at 1/2, 1/4 or 1/8 where that still leaves twice the pixels needed.
            image.draft(None, (2 * IMAGE_PIXELS, 2 * IMAGE_PIXELS))
        image.load()
        orientation = _orientation(image)
        square = _to_square(image)
        if orientation in _TRANSPOSE:
            square = square.transpose(_TRANSPOSE[orientation])
        pixels = np.asarray(square, np.uint8)  # (H, W, C)
    except _DECODE_ERRORS as error:
        raise CorruptImageError(
            f"expected a whole {image.format} file, received one that is truncated or damaged; "
            "open it in an image viewer and save it again"
        ) from error
    if orientation >= 5:
        width, height = height, width
    return DecodedImage(pixels, width, height)


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Reads the header only."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(_too_large("more", max_pixels)) from error
    except _DECODE_ERRORS as error:
        if _SIGNATURE.match(data):
            raise CorruptImageError("expected a whole image, received one whose header is damaged") from error
        raise UnsupportedImageError(
            "expected a JPEG, PNG, WebP, GIF, BMP or TIFF image, received bytes of no such format; "
            "convert the file to JPEG or PNG"
        ) from error
    if _decoded_pixels(image) > max_pixels:
        raise ImageTooLargeError(_too_large("x".join(map(str, image.size)), max_pixels))
    if image.format in ("JPEG", "MPO") and (scans := _scans(data)) > MAX_SCANS:
        raise CorruptImageError(
            f"expected a JPEG of at most {MAX_SCANS} scans, received one of {scans}; save it again in an image editor"
        )
    return image


def _scans(data: bytes) -> int:
    """Counts the scans of a JPEG up to its end, by its markers; those in metadata and thumbnails do not count.

    Source:
        ITU-T T.81, annex B: a marker is followed by the length of its segment, and in a scan's data 0xff by 0x00.
    """
    position = scans = 0
    while marker := _JPEG_MARKER.search(data, position):
        position = marker.end()
        (code,) = marker[1]
        if code == _END_OF_IMAGE:
            break
        scans += code == _START_OF_SCAN
        if code != _START_OF_IMAGE:
            position += int.from_bytes(data[position : position + 2], "big")
    return scans


def _decoded_pixels(image: Image.Image) -> int:
    """Returns how many pixels will be decoded: a TIFF of one pixel may hold a tile of a billion."""
    width, height = image.size
    tags = getattr(image, "tag_v2", {})
    tile = [tags.get(tag, 1) for tag in _TILE_TAGS]
    tile_pixels = tile[0] * tile[1] if all(isinstance(side, int) for side in tile) else 0
    return max(width * height, tile_pixels)


def _too_large(received: str, max_pixels: int) -> str:
    return f"expected at most {max_pixels} pixels (width times height), received {received}; scale the image down"


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 to 8; damaged metadata count as upright."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODE_ERRORS:
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _to_square(image: Image.Image) -> Image.Image:
    """Resizes before the colours are converted, so that a large image is not copied whole again and again."""
    size = (IMAGE_PIXELS, IMAGE_PIXELS)
    if image.mode.startswith("I") or image.mode == "F":
        return _wide_to_rgb(image, size)
    # Converting to its own mode would copy all of an image too.
    if image.mode == "RGB" and "transparency" not in image.info:
        return image.resize(size, Image.Resampling.BILINEAR)
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        # Pillow has no way from La to RGBA but over LA.
        straight = image.convert("LA") if image.mode == "La" else image
        if straight.mode not in ("LA", "RGBA"):
            straight = straight.convert("RGBA")
        layer = straight.resize(size, Image.Resampling.BILINEAR).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", size, "white"), layer).convert("RGB")
    return image.convert("RGB").resize(size, Image.Resampling.BILINEAR)


def _wide_to_rgb(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scales 16-bit, 32-bit and float samples to 8 bits; Pillow's own conversion would clip them to white."""
    top = float(np.nan_to_num(image.getextrema()[1], posinf=1.0))
    full_scale = next((scale for scale in (1.0, 255.0, 65535.0) if top <= scale), top)
    if image.mode.startswith("I;16"):
        full_scale = 65535.0
    small = image.convert("F").resize(size, Image.Resampling.BILINEAR)
    samples = np.nan_to_num(np.asarray(small, np.float32)) * (255.0 / full_scale)  # (H, W)
    return Image.fromarray(samples.clip(0, 255).astype(np.uint8), "L").convert("RGB")
