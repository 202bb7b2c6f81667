"""Explains the captions and classes of images by maps, and loads what that takes when it is first asked for."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from model.attribution import Attribution
from model.config import CaptionerConfig
from model.engines.protocol import Encoded, Engine, ExplainingEngine
from model.search import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """The maps of an image's words and classes; see `model.attribution`.

    Attributes:
        captions: For each caption the maps of its words, shape (T, H, W), float32.
        classes: The maps of the classes. Shape (N, H, W), float32.
        seconds: Time that they took.
    """

    captions: tuple[Floats, ...]
    classes: Floats
    seconds: float

    def first(self, captions: int, classes: int) -> "Explanation":
        """Returns the maps of so many captions and classes at most."""
        return replace(self, captions=self.captions[:captions], classes=self.classes[:classes])


class Explainer:
    """Makes maps with an engine's own weights. Not thread-safe: one caller at a time.

    Args:
        config: The architecture.
        engine: Runs the encoder.
    """

    def __init__(self, config: CaptionerConfig, engine: Engine) -> None:
        self._config = config
        self._engine = engine
        self._attribution: Attribution | None = None

    @property
    def attribution(self) -> Attribution:
        """Returns what makes the maps; the first time it is loaded.

        Raises:
            BundleReplacedError: The bundle that it would be loaded from is no longer there.
        """
        if self._attribution is None:
            self._attribution = Attribution(self._config, self._explaining().weights_behind_map())
        return self._attribution

    def encode(self, images: npt.NDArray[np.uint8]) -> tuple[Encoded, Floats]:
        """Runs the encoder; see `ExplainingEngine.encode_with_map`.

        Raises:
            BundleReplacedError: As `attribution`.
        """
        _ = self.attribution  # so that what cannot be explained is not captioned first
        return self._explaining().encode_with_map(images)

    def explain(
        self, last_map: Floats, captions: Sequence[Sequence[int]], classes: Sequence[int],
        is_wanted: Callable[[], bool],
    ) -> Explanation:  # fmt: skip
        """Explains one image.

        Args:
            last_map: From `encode`. Shape (H, W, C), float32.
            captions: The words of each caption.
            classes: Numbers of the classes.
            is_wanted: Returns whether anyone still waits for the maps.

        Returns:
            The maps; without those of the captions if they are no longer wanted.
        """
        started = time.monotonic()
        words = self.attribution.words(last_map, captions) if is_wanted() else []
        return Explanation(tuple(words), self.attribution.classes(last_map, classes), time.monotonic() - started)

    def _explaining(self) -> ExplainingEngine:
        if not isinstance(self._engine, ExplainingEngine):
            raise TypeError(f"expected an engine that gives maps, received {self._engine.name}; choose another one")
        return self._engine
