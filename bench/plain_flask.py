"""The baseline server: a captioner behind one Flask route and a lock."""

import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flask import Flask, request

from model.captioner import Captioner
from model.image import read_image

CAPTIONS = 3
"""Number of captions that the server gives by default."""


def create_app(bundle: str, threads: int | None = None) -> Flask:
    """Builds the application with a captioner of its own.

    Args:
        bundle: The bundle's directory.
        threads: Of its engine; None for one on each core.

    Returns:
        An application with `POST /predict`, and `GET /` to see whether it is there.
    """
    captioner = Captioner.load(Path(bundle), threads=threads)
    lock = threading.Lock()
    app = Flask("plain")

    @app.get("/")
    def index() -> dict[str, Any]:
        return {"status": "ready"}

    @app.post("/predict")
    def predict() -> dict[str, Any]:
        pixels = read_image(request.get_data()).pixels
        with lock:
            (prediction,) = captioner.predict(pixels[None], captions=CAPTIONS)
        return asdict(prediction)

    return app
