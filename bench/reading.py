"""Measures what reading a photo costs, and how far decoding at a reduced scale is from decoding in full.

One thread. Large photos are made from small ones: scaled up, with the noise of a sensor, as JPEG of quality 90.
"""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.photos import photo
from bench.report import Row, compared, median_row
from model.bundle import DEFAULT_BUNDLE
from model.captioner import Captioner
from model.config import IMAGE_PIXELS
from model.image import SUFFIXES, inspect_image, read_image

PART = "reading"
WIDTHS = (1200, 2000, 4000)
PHOTOS = 80
RUNS = 200
LARGE_RUNS = 24
NOISE = 4.0
"""Standard deviation of the sensor's noise, in levels."""

Pixels = npt.NDArray[np.uint8]
T = TypeVar("T")


def measure(photos: Path | None = None, most: int = PHOTOS) -> list[Row]:
    """Measures reading.

    Args:
        photos: A folder with photos; None for drawn pictures.
        most: Most photos of it.
    """
    drawn = [photo(seed) for seed in range(8)]
    paths = sorted(path for path in photos.iterdir() if path.suffix.lower() in SUFFIXES) if photos else []
    small = [path.read_bytes() for path in paths[:most]] or drawn
    captioner = Captioner.load(DEFAULT_BUNDLE)
    rows = _parts_of_an_ordinary_one(drawn)
    for width in WIDTHS:
        rows += _large_rows(captioner, small, width)
    return rows


def enlarged(data: bytes, width: int) -> bytes:
    """Returns a photo scaled to a width, with noise."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    height = round(image.height * width / image.width)
    values = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS), np.float32)  # (H, W, C)
    noise = np.random.default_rng(len(data)).standard_normal(values.shape, np.float32)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(values + NOISE * noise, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def read_in_full(data: bytes) -> Pixels:
    """Returns an upright RGB JPEG decoded in full and then resized. Shape (224, 224, 3)."""
    return np.asarray(_resized(_decoded(data)))


def _decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=["JPEG"])
    image.load()
    return image


def _resized(image: Image.Image) -> Image.Image:
    return image.resize((IMAGE_PIXELS, IMAGE_PIXELS), Image.Resampling.BILINEAR)


def _parts_of_an_ordinary_one(photos: Sequence[bytes]) -> list[Row]:
    images = [_decoded(data) for data in photos]
    return [
        median_row(PART, "500x375: read", _timed(read_image, photos, RUNS)),
        median_row(PART, "500x375: of that headers", _timed(inspect_image, photos, RUNS)),
        median_row(PART, "500x375: of that libjpeg", _timed(_decoded, photos, RUNS)),
        median_row(PART, "500x375: of that Pillow's resize", _timed(_resized, images, RUNS)),
    ]


def _large_rows(captioner: Captioner, small: Sequence[bytes], width: int) -> list[Row]:
    """Compares reading of large photos with reading in full, one photo in memory at a time."""
    times: dict[str, list[float]] = {"ours": [], "full": []}
    apart: list[npt.NDArray[np.int16]] = []
    same = 0
    for number, data in enumerate(small):
        large = enlarged(data, width)
        ours = read_image(large).pixels
        full = read_in_full(large)
        apart.append(np.abs(ours.astype(np.int16) - full))
        one, other = (captioner.predict(pixels[None])[0].captions[0].text for pixels in (ours, full))
        same += one == other
        if number < LARGE_RUNS:
            times["ours"] += _timed(read_image, [large], 1)
            times["full"] += _timed(read_in_full, [large], 1)
    levels = np.stack(apart)
    figures = {
        "levels apart, mean": round(float(levels.mean()), 3),
        "levels apart, 99th percentile": float(np.percentile(levels, 99)),
        "levels apart, most": float(levels.max()),
        "same captions %": round(100 * same / len(small), 1),
    }
    base = median_row(PART, f"{width} wide: read in full", times["full"])
    ours_row = median_row(PART, f"{width} wide: read", times["ours"])
    return [base, replace(compared(ours_row, base), figures=figures)]


def _timed(work: Callable[[T], object], items: Sequence[T], runs: int) -> list[float]:
    seconds = []
    for run in range(runs):
        started = time.perf_counter()
        work(items[run % len(items)])
        seconds.append(time.perf_counter() - started)
    return seconds
