"""Random crops of many photos at once, on the device that trains. Keras 3 alone, any backend."""

from typing import Any

import keras

from model.config import IMAGE_PIXELS


def crop(images: Any, boxes: Any, mirrored: Any) -> Any:
    """Cuts a part out of each photo and stretches it to the full size, bilinearly.

    Args:
        images: RGB. Shape (N, 224, 224, 3), uint8.
        boxes: Left, top, width and height of the parts in pixels, from `training.encoder.views.random_boxes`. Shape
            (N, 4), float32.
        mirrored: Which of them are mirrored. Shape (N,), bool.

    Returns:
        Shape (N, 224, 224, 3), float32, in [0, 255].

    Source:
        Two products of matrices for each photo, rows first, in place of gathered pixels: matrix units do them, and
        they are what Pillow's bilinear `resize` with a `box` computes, but for its rounding between the two.
    """
    across = _interpolation(boxes[:, 0], boxes[:, 2])
    across = keras.ops.where(mirrored[:, None, None], keras.ops.flip(across, axis=1), across)
    rows = keras.ops.einsum(
        "nyh,nhwc->nywc", _interpolation(boxes[:, 1], boxes[:, 3]), keras.ops.cast(images, "float32")
    )
    return keras.ops.einsum("nxw,nywc->nyxc", across, rows)


def _interpolation(starts: Any, sizes: Any) -> Any:
    """Returns how much each old pixel counts in each new one along one side. Shape (N, 224 new, 224 old), float32."""
    places = keras.ops.arange(IMAGE_PIXELS, dtype="float32") + 0.5
    centres = starts[:, None] + places * sizes[:, None] / IMAGE_PIXELS  # (N, 224)
    counts = keras.ops.maximum(0.0, 1.0 - keras.ops.abs(centres[:, :, None] - places))
    return counts / keras.ops.sum(counts, axis=-1, keepdims=True)
