"""The Dockerfile as a list of instructions, and a picture to send."""

import io
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Instruction:
    """One instruction of the Dockerfile, its lines joined.

    Attributes:
        stage: Number of the stage, 0 for what is before the first.
        name: Such as `RUN`.
        text: All that follows.
    """

    stage: int
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


@pytest.fixture(scope="session")
def dockerfile() -> list[Instruction]:
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    found: list[Instruction] = []
    stage = 0
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, text = line.strip().partition(" ")
        stage += name == "FROM"
        found.append(Instruction(stage, name, text.strip()))
    return found


@pytest.fixture(scope="session")
def environment(dockerfile: list[Instruction]) -> dict[str, str]:
    """Returns the environment that the image sets."""
    pairs = (word.partition("=") for item in dockerfile if item.name == "ENV" for word in item.words)
    return {name: value for name, _, value in pairs}


@pytest.fixture(scope="session")
def drawing() -> bytes:
    """Returns a JPEG of a house, large enough that a proxy does not hold it in memory."""
    image = Image.effect_noise((640, 480), 60).convert("RGB")
    draw = ImageDraw.Draw(image)
    draw.rectangle((200, 240, 440, 440), fill="firebrick")
    draw.polygon([(180, 240), (320, 120), (460, 240)], fill="saddlebrown")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
