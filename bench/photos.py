"""Makes pictures about as heavy as photos, as JPEG bytes."""

import io

import numpy as np
from PIL import Image

WIDTH = 500
HEIGHT = 375
DETAIL = ((4, 70.0), (16, 40.0), (64, 20.0), (256, 8.0))
"""Sides of coarse noise in points, and its strength: as in photos, less the finer it is."""


def photo(seed: int) -> bytes:
    """Returns a JPEG of 500x375 pixels, about 50 kB; another one for every seed."""
    random = np.random.default_rng(seed)
    values = np.full((HEIGHT, WIDTH, 3), random.uniform(90, 160, 3), np.float32)  # (H, W, C)
    for side, strength in DETAIL:
        values += strength * _coarse_noise(random, side)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(buffer, "jpeg", quality=90)
    return buffer.getvalue()


def _coarse_noise(random: np.random.Generator, side: int) -> np.ndarray:
    """Returns smooth noise (H, W, C), roughly in [-1, 1]."""
    coarse = random.integers(0, 256, (side * 3 // 4, side, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32) / 127.5 - 1.0
