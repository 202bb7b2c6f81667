"""The CPU engine: int8 weights under LiteRT, without TensorFlow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from model.bundle import LITE_DECODER, LITE_ENCODER
from model.config import IMAGE_PIXELS, MAX_BEAM_SIZE, CaptionerConfig
from model.engines.cores import usable_cores
from model.engines.protocol import Encoded
from model.errors import BundleError
from model.search import Floats, Ints

ENCODE_BATCH = 4
"""Images encoded at once. More are no faster, and each keeps 14 MB at full size for good."""


class LiteEngine:
    """The engine that runs a bundle's `encoder.tflite` and `decoder.tflite`.

    Weights of large layers are int8. Their inputs are quantised at run time, each row by its own range (dynamic
    range quantisation), so log-probabilities differ a little from the TensorFlow engine's.

    Args:
        encoder: Path of the encoder's file.
        decoder: Path of the decoder's file.
        config: The architecture that the files must have.
        threads: How many threads compute; None for one on each core that this process may use.

    Raises:
        BundleError: A file cannot be loaded, or does not fit the configuration.
    """

    name = "litert"

    def __init__(self, encoder: Path, decoder: Path, config: CaptionerConfig, threads: int | None = None) -> None:
        # The image's part of the first cell's three gates is kept beside the cells' states.
        kept = 3 if config.decoder.image_every_step else 0
        units = (config.decoder.layers + kept) * config.decoder.units
        width = min(MAX_BEAM_SIZE, config.decoder.vocabulary_size)
        image = (IMAGE_PIXELS, IMAGE_PIXELS, 3)
        features = (config.encoder.feature_units,)
        best = {"log_probs": (width,), "ids": (width,), "state": (units,)}
        encoder_file = _File(encoder, threads)
        decoder_file = _File(decoder, threads)
        self._encode = encoder_file.signature(
            "encode", {"images": image}, {"features": features, "probabilities": (config.encoder.classes,)}
        )
        self._start = decoder_file.signature("start", {"features": features}, best)
        self._step = decoder_file.signature("step", {"tokens": (), "parents": (), "state": (units,)}, best)

    @classmethod
    def of(cls, path: Path, config: CaptionerConfig, threads: int | None = None) -> Self:
        """Loads the files of a bundle whose manifest was verified."""
        return cls(path / LITE_ENCODER, path / LITE_DECODER, config, threads)

    def warm_up(self) -> None:
        """Runs everything once, so that all memory is allocated; see `Engine.warm_up`."""
        images = np.zeros((ENCODE_BATCH, IMAGE_PIXELS, IMAGE_PIXELS, 3), np.uint8)
        _, ids, state = self.start(self.encode(images).features)
        self.step(ids[:, 0], np.arange(len(ids), dtype=np.int32), state)

    def encode(self, images: npt.NDArray[np.uint8]) -> Encoded:
        """Runs the encoder; see `Engine.encode`."""
        parts = [
            self._encode(images=images[begin : begin + ENCODE_BATCH]) for begin in range(0, len(images), ENCODE_BATCH)
        ]
        features, probabilities = (
            np.concatenate([part[key] for part in parts]) for key in ("features", "probabilities")
        )
        return Encoded(features, probabilities)

    def start(self, features: Any) -> tuple[Floats, Ints, Any]:
        """Reads the features; see `Engine.start`."""
        best = self._start(features=np.asarray(features, np.float32))
        return best["log_probs"], best["ids"], best["state"]

    def step(self, tokens: Ints, parents: Ints, state: Any) -> tuple[Floats, Ints, Any]:
        """Scores the next words; see `Engine.step`."""
        best = self._step(tokens=tokens, parents=parents, state=state)
        return best["log_probs"], best["ids"], best["state"]


_Shapes = Mapping[str, tuple[int, ...]]


class _File:
    """A loaded file, which checks its signatures before it hands them out."""

    def __init__(self, path: Path, threads: int | None) -> None:
        self._path = path
        try:
            self._interpreter = Interpreter(str(path), num_threads=threads or usable_cores())
            self._signatures = self._interpreter.get_signature_list()
        except (ValueError, RuntimeError) as error:
            raise self._misfit("a LiteRT file", str(error)) from error

    def signature(self, name: str, inputs: _Shapes, outputs: _Shapes) -> Any:
        """Returns a function of the file; shapes are without the batch."""
        if name not in self._signatures:
            raise self._misfit(f"a signature {name!r}", str(sorted(self._signatures)))
        runner = self._interpreter.get_signature_runner(name)
        for expected, details in ((inputs, runner.get_input_details()), (outputs, runner.get_output_details())):
            found = {key: tuple(detail["shape_signature"].tolist()[1:]) for key, detail in details.items()}
            if found != expected:
                raise self._misfit(f"{name} with {expected}", str(found))
        return runner

    def _misfit(self, expected: str, found: str) -> BundleError:
        return BundleError(
            f"{self._path}: expected {expected}, found {found}; make it again with `showtell-train convert`"
        )
