"""LitServe around a captioner, as its documentation recommends for a CPU: a worker process on each core."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import litserve
import litserve.server
import numpy as np
import numpy.typing as npt
from fastapi import Request

from bench.plain_flask import CAPTIONS
from model.captioner import Captioner, Prediction
from model.image import read_image


class Captions(litserve.LitAPI):  # type: ignore[misc]
    """The captioner behind `POST /predict`, which takes a form with the part `image`.

    Args:
        bundle: The bundle's directory.
        threads: Of each worker's engine.
    """

    def __init__(self, bundle: Path, threads: int) -> None:
        super().__init__()
        self._bundle = bundle
        self._threads = threads

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Loads the captioner, in the worker."""
        self._captioner = Captioner.load(self._bundle, threads=self._threads)

    def decode_request(self, request: Request) -> npt.NDArray[np.uint8]:
        """Returns the pixels (1, 224, 224, 3) of a form."""
        return read_image(request["image"].file.read()).pixels[None]

    def predict(self, pixels: npt.NDArray[np.uint8]) -> Prediction:
        """Captions one photo."""
        return self._captioner.predict(pixels, captions=CAPTIONS)[0]

    def encode_response(self, prediction: Prediction) -> dict[str, Any]:
        """Returns what is sent as JSON."""
        return asdict(prediction)


def serve(port: int, bundle: Path, workers: int, threads: int) -> None:
    """Serves until it is stopped."""
    # LitServe 0.2.19 looks for the package mcp, which our tests install, and then does without fastmcp what needs it.
    litserve.server._MCP_AVAILABLE = False
    api = Captions(bundle, threads)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers, fast_queue=True)
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    _port, _bundle, _workers, _threads = sys.argv[1:]
    serve(int(_port), Path(_bundle), int(_workers), int(_threads))
