"""TensorBoard's summaries of a run, with pictures."""

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from training.loop.directory import SUMMARIES
from training.loop.events import forget_after
from training.loop.figures import FigureLog

HISTOGRAM_VALUES = 100_000
"""Most values of a variable that its histogram is made of."""

LINE_LETTERS = 34
LINE_PIXELS = 14


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
    pencil = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=12)
    for number, line in enumerate(textwrap.wrap(caption, LINE_LETTERS)[:3]):
        pencil.text((3, height + 2 + number * LINE_PIXELS), line, fill="black", font=font)
    return np.asarray(picture)


def _some(values: Any) -> Any:
    """Returns the finite values or, if they are many, every n-th: TensorFlow's histogram takes 240 bytes for each.

    It raises an error where one is not finite, as gradients are after an overflow of float16.
    """
    flat = np.ravel(keras.ops.convert_to_numpy(values))
    finite = flat[np.isfinite(flat)]
    return finite[:: max(1, -(-finite.size // HISTOGRAM_VALUES))]


class Summaries(FigureLog):
    """The figures of a run, as JSON lines and for TensorBoard, with its pictures, histograms and graph."""

    def __init__(self, directory: Path, step: int, *, active: bool) -> None:
        super().__init__(directory, step, active=active)
        self._drawn = step > 0
        if active:
            forget_after(directory / SUMMARIES, step)
            self.writer: Any = tf.summary.create_file_writer(str(directory / SUMMARIES))
        else:
            self.writer = tf.summary.create_noop_writer()

    def __exit__(self, *_: object) -> None:
        self.flush()
        self.writer.close()

    def write(self, step: int, kind: str, figures: Mapping[str, float]) -> None:
        """Writes a line, and its figures for TensorBoard."""
        if self.active:
            with self.writer.as_default(step):
                for name, value in figures.items():
                    tf.summary.scalar(f"{kind}/{name}", value)
        super().write(step, kind, figures)

    def dev(self, step: int, figures: Mapping[str, float], pictures: Iterator[tuple[str, Any]]) -> None:
        """Writes the figures and pictures of an evaluation."""
        self.write(step, "dev", figures)
        if self.active:
            with self.writer.as_default(step):
                for name, image in pictures:
                    tf.summary.image(name, image[None])

    def histograms(self, step: int, variables: list[keras.Variable], gradients: list[tf.Tensor]) -> None:
        """Writes the distribution of every variable and of its gradient."""
        if not self.active:
            return
        with self.writer.as_default(step):
            for variable, gradient in zip(variables, gradients, strict=True):
                tf.summary.histogram(f"variables/{variable.path}", _some(variable))
                tf.summary.histogram(f"gradients/{variable.path}", _some(gradient))

    def graph(self, function: Any) -> None:
        """Writes the graph of the step, once a run."""
        if self.active and not self._drawn:
            with self.writer.as_default(0):
                tf.summary.graph(function.get_concrete_function().graph)
            self._drawn = True

    def flush(self) -> None:
        """Flushes the lines and TensorBoard's events to disk."""
        super().flush()
        self.writer.flush()
