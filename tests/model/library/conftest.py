"""Photo libraries made in code, a real captioner for them, and the command in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.captioner import Captioner
from model.image import MAX_PIXELS
from model.library.command import Command
from model.library.pipeline import Predict
from model.library.request import Request

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def predict(toy_bundle: Path) -> Predict:
    """Returns a real captioner's batch function, by the CPU engine."""
    return partial(Captioner.load(toy_bundle, engine="litert").predict, classes=3)


def make_photos(folder: Path, count: int, suffix: str = ".jpg") -> list[Path]:
    """Writes small photos that differ, and returns their paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"photo{number:04}{suffix}" for number in range(count)]
    for number, path in enumerate(paths):
        pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


Run = Callable[..., bool]


@pytest.fixture
def run(predict: Predict) -> Run:
    """Returns a function that runs the command on photos with options; it returns whether nothing failed."""

    def call(*photos: Path, settings: dict[str, Any] | None = None, **options: Any) -> bool:
        request = Request(photos=tuple(map(str, photos)), **{"max_pixels": MAX_PIXELS, **options})
        command = Command(request, predict)
        return command.write(command.list_photos(), {"captions": 1, **(settings or {})})

    return call


def rows_of(table: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in table.read_text().splitlines()]


def pixels_of(photo: Path) -> bytes:
    with Image.open(photo) as image:
        return image.tobytes()


def summary(capsys: pytest.CaptureFixture[str]) -> str:
    """Returns the counts of the last run."""
    return capsys.readouterr().err.splitlines()[-1].partition(" in ")[0]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Returns a folder with eight photos, one in a folder inside, and some other files."""
    folder = tmp_path / "photos"
    make_photos(folder, 7)
    make_photos(folder / "inside", 1, ".png")
    (folder / "film.mov").write_bytes(b"")
    return folder


Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def call(toy_bundle: Path) -> Call:
    """Returns a function that runs the command on arguments in a process of its own."""

    def run(
        *arguments: str | Path, front: tuple[str, ...] = (), **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command(toy_bundle, *arguments, front=front), capture_output=True, text=True, cwd=ROOT, check=False,
            errors="surrogateescape", env=os.environ | environment,
        )  # fmt: skip

    return run


def command(bundle: Path, *arguments: str | Path, front: tuple[str, ...] = ()) -> list[str]:
    """Returns the command line of the command."""
    return [*front, sys.executable, "-m", "model.cli", *map(str, arguments), "--bundle", str(bundle)]
