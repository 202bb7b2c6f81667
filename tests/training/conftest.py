"""Drawn photos with captions: a data set made in code, and what the commands that train need besides."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image, ImageDraw
from safetensors.numpy import save_file

from tests.training.processes import Launcher
from tests.training.stages import random_lite2
from tests.training.toys import Toys, make_toys

COLOURS = ("red", "green", "blue", "yellow")
SHAPES = ("square", "circle")


def draw(path: Path, colour: str, shape: str, seed: int) -> None:
    """Draws one shape somewhere on a noisy ground."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(90, 130, (96, 128, 3), dtype=np.uint8))
    left, top = (int(value) for value in random.integers(5, 40, 2))
    pencil = ImageDraw.Draw(image)
    box = (left, top, left + 45, top + 45)
    (pencil.rectangle if shape == "square" else pencil.ellipse)(box, fill=colour)
    image.save(path, quality=92)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a weights file of a teacher that has learned nothing."""
    keras.utils.set_random_seed(5)
    path = tmp_path_factory.mktemp("teacher") / "mobilenet_v2.weights.h5"
    keras.applications.MobileNetV2(weights=None).save_weights(path)
    return path


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder of 24 drawn photos, each with two captions in a text file beside it."""
    folder = tmp_path_factory.mktemp("drawn")
    for index in range(24):
        colour = COLOURS[index % 4]
        shape = SHAPES[index // 4 % 2]
        draw(folder / f"photo-{index:02}.jpg", colour, shape, index)
        (folder / f"photo-{index:02}.txt").write_text(f"a {colour} {shape}\nthere is a {colour} {shape} here\n")
    return folder


@pytest.fixture(scope="session")
def lite2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a file of an EfficientNet-Lite2 that has learned nothing."""
    path = tmp_path_factory.mktemp("lite2") / "lite2.safetensors"
    save_file(random_lite2(), path)
    return path


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """Yields a launcher; what it still runs at the end is killed with it."""
    with contextlib.closing(Launcher(tmp_path_factory.mktemp("log") / "log.txt")) as opened:
        yield opened


@pytest.fixture(scope="session")
def toys(drawn: Path, lite2: Path, tmp_path_factory: pytest.TempPathFactory) -> Toys:
    """Returns the inputs of every command that trains."""
    return make_toys(tmp_path_factory.mktemp("toys"), drawn, lite2)
