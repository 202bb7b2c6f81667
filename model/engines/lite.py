"""The CPU engine: int8 weights under LiteRT, without TensorFlow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from model.attribution import is_behind_the_map, last_map_shape
from model.bundle import LITE_DECODER, LITE_ENCODER, load_weights
from model.config import IMAGE_PIXELS, MAX_BEAM_SIZE, CaptionerConfig
from model.engines.cores import usable_cores
from model.engines.protocol import Encoded
from model.errors import BundleError, BundleReplacedError
from model.manifest import MANIFEST
from model.search import Floats, Ints
from model.tensors import Weights

MAX_ENCODE_BATCH = 4
"""Most images encoded at once. At full size more than one are no faster, and each keeps 11 MB for good."""


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
        encoded = {"features": features, "probabilities": (config.encoder.classes,)}
        encoder_file = _File(encoder, threads)
        decoder_file = _File(decoder, threads)
        self._encode = encoder_file.signature("encode", {"images": image}, encoded)
        self._start = decoder_file.signature("start", {"features": features}, best)
        self._step = decoder_file.signature("step", {"tokens": (), "parents": (), "state": (units,)}, best)
        # Where the last maps have few places, several images fill the vector units better than one.
        self._encode_batch = min(MAX_ENCODE_BATCH, config.encoder.input_pooling**2)
        self._path = encoder
        self._config = config
        self._threads = threads
        self._shapes = {"images": image}, {**encoded, MAP: last_map_shape(config.encoder, IMAGE_PIXELS)}
        self._manifest = _manifest_of(encoder.parent)
        self._gives_map = False

    @classmethod
    def of(cls, path: Path, config: CaptionerConfig, threads: int | None = None) -> Self:
        """Loads the files of a bundle whose manifest was verified."""
        return cls(path / LITE_ENCODER, path / LITE_DECODER, config, threads)

    def warm_up(self) -> None:
        """Runs everything once, so that all memory is allocated; see `Engine.warm_up`."""
        images = np.zeros((self._encode_batch, IMAGE_PIXELS, IMAGE_PIXELS, 3), np.uint8)
        _, ids, state = self.start(self.encode(images).features)
        self.step(ids[:, 0], np.arange(len(ids), dtype=np.int32), state)

    def encode(self, images: npt.NDArray[np.uint8]) -> Encoded:
        """Runs the encoder; see `Engine.encode`."""
        features, probabilities = self._encode_parts(images, "features", "probabilities")
        return Encoded(features, probabilities)

    def encode_with_map(self, images: npt.NDArray[np.uint8]) -> tuple[Encoded, Floats]:
        """Runs the encoder; see `ExplainingEngine.encode_with_map`.

        The first call loads the encoder anew, with the map as an output, in place of the one before.
        """
        if not self._gives_map:
            self._check_unchanged()
            self._encode = _File(self._path, self._threads, has_map=True).signature("encode", *self._shapes)
            self._gives_map = True
        features, probabilities, last_map = self._encode_parts(images, "features", "probabilities", MAP)
        return Encoded(features, probabilities), last_map

    def weights_behind_map(self) -> Weights:
        """Reads the weights; see `ExplainingEngine.weights_behind_map`."""
        try:
            return load_weights(self._path.parent, self._config, is_behind_the_map)
        finally:  # also where another bundle's tensors did not fit
            self._check_unchanged()

    def start(self, features: Any) -> tuple[Floats, Ints, Any]:
        """Reads the features; see `Engine.start`."""
        best = self._start(features=np.asarray(features, np.float32))
        return best["log_probs"], best["ids"], best["state"]

    def step(self, tokens: Ints, parents: Ints, state: Any) -> tuple[Floats, Ints, Any]:
        """Scores the next words; see `Engine.step`."""
        best = self._step(tokens=tokens, parents=parents, state=state)
        return best["log_probs"], best["ids"], best["state"]

    def _encode_parts(self, images: npt.NDArray[np.uint8], *names: str) -> list[Floats]:
        starts = range(0, len(images), self._encode_batch)
        parts = [self._encode(images=images[begin : begin + self._encode_batch]) for begin in starts]
        return [np.concatenate([part[name] for part in parts]) for name in names]

    def _check_unchanged(self) -> None:
        if _manifest_of(self._path.parent) != self._manifest:
            raise BundleReplacedError(
                "expected the bundle that is loaded, found another one in its place; try again when that is loaded"
            )


MAP = "map"
"""Name of the encoder's output that is the last map."""

_Shapes = Mapping[str, tuple[int, ...]]


class _File:
    """A loaded file, which checks its signatures before it hands them out."""

    def __init__(self, path: Path, threads: int | None, *, has_map: bool = False) -> None:
        self._path = path
        try:
            source = {"model_content": _with_map(path)} if has_map else {"model_path": str(path)}
            self._interpreter = Interpreter(**source, num_threads=threads or usable_cores())
            self._signatures = self._interpreter.get_signature_list()
        except (ValueError, RuntimeError, OSError) as error:
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


def _with_map(path: Path) -> bytes:
    # Imported here: it takes as long as an image, and most captioners explain nothing.
    from model.engines.lite_map import with_map

    return with_map(path.read_bytes(), "encode", MAP)


def _manifest_of(path: Path) -> bytes | None:
    """Returns the manifest of a bundle; None where there are only the engine's files."""
    try:
        return (path / MANIFEST).read_bytes()
    except OSError:
        return None
