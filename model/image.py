"""Turns an image file's bytes into a (224, 224, 3) array: the only preprocessing, for training and serving."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.colours import to_srgb
from model.config import IMAGE_PIXELS
from model.depth import in_real_range, is_deep, range_of
from model.errors import CorruptImageError, ImageTooLargeError, UnsupportedImageError
from model.formats.header import DamagedFileError, Header
from model.formats.known import READERS, SUFFIXES, format_of, refusal
from model.opening import opened

__all__ = [
    "FORMATS", "MAX_PIXELS", "MAX_SIDE_PIXELS", "SUFFIXES", "DecodedImage", "inspect_image", "is_image", "read_image",
]  # fmt: skip

MAX_PIXELS = 50_000_000
"""Largest width times height accepted by default, in pixels."""

MAX_SIDE_PIXELS = 32_768
"""Largest width, and largest height, in pixels."""

MAX_ASPECT_RATIO = 500
"""Largest ratio of the longer side to the shorter one."""

BYTES_PER_PIXEL = 10
"""Memory for decoding, in bytes per pixel of the limit: enough for all formats but WebP."""

_LEAST_DECODED_BYTES = 64 * 1024**2

BAND_PIXELS = 1_000_000
"""Most pixels that are converted at once when an image is resized."""

FORMATS = tuple(READERS)
"""Pillow's names of the accepted formats. The bytes decide, never a file name or a content type."""

# Errors that Pillow's decoders are known to raise on hostile bytes. MemoryError is no sign of bad bytes.
_DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, AttributeError, ArithmeticError,
    NotImplementedError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip

_RGB_MODES = ("RGB", "RGBA", "RGBX", "RGBa", "P", "PA")

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
    """One image, ready for the encoder.

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
        ImageTooLargeError: The image has more than `max_pixels` pixels, or takes more memory than those may.
        CorruptImageError: The format is accepted, but the bytes are truncated or damaged.
        MemoryError: The system has less memory than decoding takes.
    """
    header = inspect_image(data, max_pixels=max_pixels)
    try:
        image = opened(header)
        if image.size != (header.width, header.height):
            raise ValueError(f"expected {header.width}x{header.height} pixels, as counted, received {image.size}")
        extent = None
        if header.format == "JPEG":
            # Lets libjpeg decode at 1/2, 1/4 or 1/8 where that still leaves twice the pixels needed.
            drafted = image.draft(None, (2 * IMAGE_PIXELS, 2 * IMAGE_PIXELS))
            extent = None if drafted is None else drafted[1][2:]
        deep = is_deep(image)
        size = image.size
        image.load()
        if image.size != size:
            raise ValueError(f"expected {size} pixels, as announced, received {image.size}")
        square = to_square(in_real_range(image, header) if deep else image, extent=extent)
        if image.mode in _RGB_MODES:
            # A profile of three colours says nothing of grey or CMYK.
            square = to_srgb(square, header.profile)
        if header.orientation in _TRANSPOSE:
            square = square.transpose(_TRANSPOSE[header.orientation])
        pixels = np.asarray(square, np.uint8)  # (H, W, C)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(_too_large("more than Pillow decodes", max_pixels)) from error
    except _DECODE_ERRORS as error:
        raise CorruptImageError(
            f"expected a whole {header.format} file, received one that is truncated or damaged; "
            "open it in an image viewer and save it again"
        ) from error
    width = header.width
    height = header.height
    return DecodedImage(pixels, *((height, width) if header.orientation >= 5 else (width, height)))


def is_image(start: bytes) -> bool:
    """Returns whether a file's first bytes are those of an image in one of `FORMATS`, or of a HEIC."""
    return format_of(start) is not None


def inspect_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Reads the headers of an image file, and refuses it if decoding would take too much.

    Nothing is decoded, so that this takes little time and no more memory than the file.

    Args:
        data: The whole file, in one of `FORMATS`.
        max_pixels: Largest width times height.

    Returns:
        What the headers say.

    Raises:
        UnsupportedImageError: The bytes are in no accepted format.
        ImageTooLargeError: The image has too many pixels, or takes too much memory.
        CorruptImageError: The format is accepted, but its headers are damaged.
    """
    if reason := refusal(data):
        raise UnsupportedImageError(reason)
    try:
        header = READERS[str(format_of(data))](data)
    except DamagedFileError as error:
        raise CorruptImageError(f"expected a whole image, received one whose header is damaged: {error}") from error
    except (struct.error, LookupError, ValueError, OverflowError) as error:
        raise CorruptImageError("expected a whole image, received one whose header is damaged") from error
    _check_size(header, max_pixels)
    return header


def max_decoded_bytes(max_pixels: int) -> int:
    """Returns the most memory that decoding one image may take under a pixel limit, in bytes."""
    return max(_LEAST_DECODED_BYTES, BYTES_PER_PIXEL * max_pixels)


def _check_size(header: Header, max_pixels: int) -> None:
    width = header.width
    height = header.height
    size = f"{width}x{height}"
    longer = max(width, height)
    shorter = min(width, height)
    if header.largest_pixels > max_pixels:
        raise ImageTooLargeError(_too_large(size, max_pixels))
    if longer > MAX_SIDE_PIXELS or longer > MAX_ASPECT_RATIO * max(1, shorter):
        raise ImageTooLargeError(
            f"expected sides of at most {MAX_SIDE_PIXELS} pixels, the longer at most {MAX_ASPECT_RATIO} times the "
            f"shorter, received {size}; scale the image down, or cut out the part that matters"
        )
    if header.decoded_bytes > max_decoded_bytes(max_pixels):
        raise ImageTooLargeError(
            f"expected an image that takes at most {max_decoded_bytes(max_pixels):,} bytes to decode, received a "
            f"{header.format} of {size} pixels, which takes {header.decoded_bytes:,}; scale it down or save it as JPEG"
        )


def _too_large(received: str, max_pixels: int) -> str:
    return f"expected at most {max_pixels} pixels (width times height), received {received}; scale the image down"


def to_square(
    image: Image.Image, *, band_pixels: int = BAND_PIXELS, extent: tuple[float, float] | None = None
) -> Image.Image:
    """Converts an image to RGB and resizes it to (224, 224), without turning it upright.

    Args:
        image: In any mode, decoded.
        band_pixels: Most pixels that are converted at once. The result hardly depends on it: see `_resized`.
        extent: Width and height of the picture, of one without transparency whose last pixels it fills in part; None if
            it fills all.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return _wide_to_rgb(image, band_pixels)
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        premultiplied = "La" if image.mode in ("LA", "La") else "RGBa"
        layer = (
            _resized(image, premultiplied, band_pixels)
            .convert("LA" if premultiplied == "La" else "RGBA")
            .convert("RGBA")
        )
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return _resized(image, "RGB", band_pixels, extent)


def _resized(image: Image.Image, mode: str, band_pixels: int, extent: tuple[float, float] | None = None) -> Image.Image:
    """Converts an image to a mode and resizes it, in bands of lines where it is large, so that no whole copy is made.

    The result equals converting and resizing the whole image to the bit, as long as Pillow resizes each line before it
    resizes the columns. For much taller images Pillow begins with the columns, and since it rounds in between, results
    differ by one level, or by a few with transparency. An image that becomes wider is not cut into bands.
    """
    width, height = image.size
    filled_width, filled_height = extent or image.size
    size = (IMAGE_PIXELS, IMAGE_PIXELS)
    bilinear = Image.Resampling.BILINEAR
    if width < IMAGE_PIXELS or width * height <= band_pixels:
        return _converted(image, mode).resize(size, bilinear, (0, 0, filled_width, filled_height))
    narrow = Image.new(mode, (IMAGE_PIXELS, height))
    lines = max(1, band_pixels // width)
    for top in range(0, height, lines):
        band = _converted(image.crop((0, top, width, min(top + lines, height))), mode)
        narrow.paste(band.resize((IMAGE_PIXELS, band.height), bilinear, (0, 0, filled_width, band.height)), (0, top))
    return narrow.resize(size, bilinear, (0, 0, IMAGE_PIXELS, filled_height))


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """Converts an image; Pillow multiplies colours with transparency (La, RGBa) in LA and RGBA alone."""
    if image.mode == mode:
        return image
    if mode in ("La", "RGBa"):
        image = image.convert("LA" if mode == "La" else "RGBA")
    return image.convert(mode)


def _wide_to_rgb(image: Image.Image, band_pixels: int) -> Image.Image:
    """Scales 16-bit, 32-bit and float samples to 8 bits; Pillow's own conversion would clip them to white."""
    if image.mode.startswith("I;16"):
        full_scale = float(range_of(_top_of(image, band_pixels)))
    else:
        top = float(np.nan_to_num(image.getextrema()[1], posinf=1.0))
        full_scale = next((scale for scale in (1.0, 255.0, 65535.0) if top <= scale), top)
    samples = np.nan_to_num(np.asarray(_resized(image, "F", band_pixels), np.float32)) * (255.0 / full_scale)  # (H, W)
    return Image.fromarray(samples.clip(0, 255).astype(np.uint8), "L").convert("RGB")


def _top_of(image: Image.Image, band_pixels: int) -> float:
    """Returns the largest sample; Pillow tells it of some kinds alone."""
    width, height = image.size
    lines = max(1, band_pixels // width)
    bands = (image.crop((0, top, width, min(top + lines, height))) for top in range(0, height, lines))
    return max(float(np.max(_converted(band, "F").getextrema())) for band in bands)
