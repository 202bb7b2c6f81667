"""What a run writes to be looked at: figures as JSON lines, and TensorBoard's summaries with pictures."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from model.atomic import atomic_file

METRICS, SUMMARIES = "metrics.jsonl", "tensorboard"
HISTOGRAM_VALUES = 100_000
"""Most values of a variable that its histogram is made of."""

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


def _some(values: Any) -> Any:
    """Returns the values, or an even sample of them: TensorFlow's histogram takes 240 bytes for each."""
    flat = np.ravel(keras.ops.convert_to_numpy(values))
    return flat[:: -(-flat.size // HISTOGRAM_VALUES)]


class Metrics:
    """Writes figures as JSON lines and TensorBoard summaries; a worker that is not the chief writes nothing."""

    def __init__(self, directory: Path, step: int, *, active: bool) -> None:
        self.path, self.directory, self.active = directory / METRICS, directory, active
        self._recent: dict[str, list[float]] = {}
        self._lines: list[str] = []
        self._drawn = self._written = False
        if active:
            self._forget_after(step)
            self.writer: Any = tf.summary.create_file_writer(str(directory / SUMMARIES))
        else:
            self.writer = tf.summary.create_noop_writer()

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self.writer.close()

    def _forget_after(self, step: int) -> None:
        """Drops the lines of steps that a killed run took after its last checkpoint: they will be taken again."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text().splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(f"{line}\n")
            except ValueError:
                continue  # cut off by the kill
        with atomic_file(self.path) as file:
            file.write_text("".join(kept))

    def recent(self, name: str) -> float:
        """Returns the mean of a figure since the last line."""
        return float(np.mean(self._recent.get(name, [float("nan")])))

    def train(self, step: int, figures: Mapping[str, float], *, write: bool) -> None:
        """Takes the figures of a step; when due, writes a line with their means since the last one."""
        if self._written:
            self._recent, self._written = {}, False
        for name, value in figures.items():
            self._recent.setdefault(name, []).append(value)
        if write:
            self._write(step, "train", {name: float(np.mean(values)) for name, values in self._recent.items()})
            self._written = True

    def dev(self, step: int, figures: Mapping[str, float], pictures: Iterator[tuple[str, Any]]) -> None:
        """Writes the figures and pictures of an evaluation."""
        self._write(step, "dev", figures)
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
        """Puts what was written on the disk."""
        if self.active and self._lines:
            with self.path.open("a") as file:
                file.write("".join(self._lines))
            self._lines = []
        self.writer.flush()

    def _write(self, step: int, kind: str, figures: Mapping[str, float]) -> None:
        if not self.active:
            return
        rounded = {name: float(f"{value:.6g}") for name, value in figures.items()}
        self._lines.append(json.dumps({"step": step, "kind": kind} | rounded) + "\n")
        with self.writer.as_default(step):
            for name, value in figures.items():
                tf.summary.scalar(f"{kind}/{name}", value)
        if kind == "dev":
            self.flush()
