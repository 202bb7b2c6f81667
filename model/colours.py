"""Brings the colours of a photo with a colour profile into sRGB, which the captioner was trained on."""

import functools
import io

import numpy as np
from PIL import Image, ImageCms

MAX_TRANSFORMS = 16
"""Most profiles whose transform is kept; nearly all photos with a profile have one of a handful."""

NEAR = 3
"""A profile that moves no colour by more than so many levels is one of sRGB, rounded in its own way."""

_STEP = 17
_LEAST_WHITE = 235


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Converts colours into sRGB.

    Args:
        image: In mode RGB.
        profile: The profile of its colours, from `model.formats.icc`.

    Returns:
        The converted image; the same one where the profile is empty, broken, or that of sRGB.
    """
    transform = _transform(profile) if profile else None
    return image if transform is None else _applied(image, transform)


@functools.lru_cache(MAX_TRANSFORMS)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Returns what converts from a profile; None where it is broken or that of sRGB."""
    levels = np.arange(0, 256, _STEP, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(levels.size, -1, 3)  # (H, W, C)
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), "RGB", "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )  # fmt: skip
        found = np.asarray(_applied(Image.fromarray(colours, "RGB"), transform), np.int16)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    is_near = np.abs(found - colours).max() <= NEAR
    return None if is_near or found[-1, -1].min() < _LEAST_WHITE else transform


def _applied(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    return transform.apply(image)
