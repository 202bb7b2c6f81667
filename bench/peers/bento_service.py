"""BentoML around a captioner, as its documentation recommends for a CPU: a worker process on each core.

`bentoml serve` imports the service; the bundle and the numbers come from the environment.
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType

from bench.plain_flask import CAPTIONS
from model.captioner import Captioner
from model.image import read_image


@bentoml.service(workers=int(os.environ["BENCH_WORKERS"]), traffic={"timeout": 60})
class Captions:
    """The captioner behind `POST /predict`, which takes a JPEG as the body."""

    def __init__(self) -> None:
        self._captioner = Captioner.load(Path(os.environ["BENCH_BUNDLE"]), threads=int(os.environ["BENCH_THREADS"]))

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, photo: Annotated[Path, ContentType("image/jpeg")], /) -> dict[str, Any]:
        """Captions one photo."""
        pixels = read_image(photo.read_bytes()).pixels
        (prediction,) = self._captioner.predict(pixels[None], captions=CAPTIONS)
        return asdict(prediction)
