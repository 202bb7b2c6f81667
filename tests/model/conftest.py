"""One toy captioner for every test of the package, and photos drawn in code."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from model.bundle import Bundle
from model.captioner import Captioner
from tests.conftest import HAS_TENSORFLOW

NEEDS_TENSORFLOW = re.compile(
    r"^(from|import) (keras|tensorflow|training|model\.(encoder|decoder|weights|pretrained))", re.M
)

collect_ignore = (
    []
    if HAS_TENSORFLOW
    else [path.name for path in Path(__file__).parent.glob("test_*.py") if NEEDS_TENSORFLOW.search(path.read_text())]
)
"""Tests that cannot even be imported without TensorFlow."""


@pytest.fixture(scope="session")
def captioner(toy: Bundle) -> Captioner:
    """Returns a real captioner with random weights."""
    return Captioner.of(toy)


@pytest.fixture(scope="session")
def drawing() -> Image.Image:
    """Returns an RGB drawing of 120x80 pixels that looks different from each side."""
    image = Image.new("RGB", (120, 80), "skyblue")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 50, 120, 80), fill="darkgreen")
    draw.ellipse((10, 10, 50, 50), fill="yellow")
    draw.rectangle((80, 30, 110, 70), fill="firebrick")
    return image


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    """Returns a function from an image, Pillow's name of a format and its options to the bytes of a file."""

    def encode(image: Image.Image, format_name: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format_name, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture(autouse=True)
def forgetful(forgetful_keras: None) -> None:
    """Gives every test of the package networks of its own."""
