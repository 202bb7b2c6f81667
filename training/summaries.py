"""Pictures for TensorBoard: an image over its caption."""

import textwrap

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

LINE_LETTERS, LINE_PIXELS = 34, 14


def captioned_picture(image: npt.NDArray[np.uint8], caption: str) -> npt.NDArray[np.uint8]:
    """Draws a caption below an image.

    Args:
        image: Shape (H, W, 3), uint8.
        caption: Any text; wrapped to three lines, cut after them.

    Returns:
        Shape (H + 46, W, 3), uint8.
    """
    height, width, _ = image.shape
    picture = Image.new("RGB", (width, height + 3 * LINE_PIXELS + 4), "white")
    picture.paste(Image.fromarray(image))
    pencil, font = ImageDraw.Draw(picture), ImageFont.load_default(size=12)
    for number, line in enumerate(textwrap.wrap(caption, LINE_LETTERS)[:3]):
        pencil.text((3, height + 2 + number * LINE_PIXELS), line, fill="black", font=font)
    return np.asarray(picture)
