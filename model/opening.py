"""Opens with Pillow what `model.formats` has read."""

import functools
import io

from PIL import AvifImagePlugin, Image, ImageFile

from model.formats.header import Header


def opened(header: Header) -> ImageFile.ImageFile:
    """Returns an image that is not decoded yet.

    Args:
        header: Of the file; its format is one of `model.formats.known.READERS`.

    Raises:
        OSError: Pillow finds it damaged; so do SyntaxError, ValueError and others.
    """
    data = io.BytesIO(header.data)
    if header.format == "HEIF":
        return _heic()(data)
    if header.format == "AVIF":
        # One photo, one thread: others are decoded beside it, and each thread takes memory.
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return Image.open(data, formats=[header.format])


@functools.cache
def _heic() -> type[ImageFile.ImageFile]:
    """Returns the class that decodes HEIC; Pillow's own list of formats is left as it is."""
    import pi_heif

    pi_heif.options.DECODE_THREADS = 1
    pi_heif.options.THUMBNAILS = False
    pi_heif.options.DEPTH_IMAGES = False
    pi_heif.options.AUX_IMAGES = False
    image: type[ImageFile.ImageFile] = pi_heif.HeifImageFile
    return image
