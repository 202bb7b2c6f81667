"""The protocol between the captioner and an engine."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from model.search import Floats, Ints
from model.tensors import Weights


class Encoded(NamedTuple):
    """The encoder's outputs for a batch of images.

    Attributes:
        features: Shape (B, D), float32.
        class_probabilities: Shape (B, C), float32, each row summing to 1.
    """

    features: Any
    class_probabilities: Floats


class Engine(Protocol):
    """An engine that runs the encoder and single steps of the decoder. Not thread-safe: one caller at a time.

    Padding and unknown are never among the candidates; the end is never among the first words. Probabilities are still
    those of the full softmax.
    """

    name: str

    def warm_up(self) -> None:
        """Does all one-time work now, so that no later call is slow because it is the first of its size."""

    def encode(self, images: npt.NDArray[np.uint8], /) -> Encoded:
        """Runs the encoder on RGB images, shape (B, 224, 224, 3)."""

    def start(self, features: Any, /) -> tuple[Floats, Ints, Any]:
        """Reads features (B, D); returns log-probabilities and ids of the best first words, (B, M), and the state."""

    def step(self, tokens: Ints, parents: Ints, state: Any, /) -> tuple[Floats, Ints, Any]:
        """Scores the next words as `model.search.Step` says; M is the smaller of MAX_BEAM_SIZE and V."""


@runtime_checkable
class ExplainingEngine(Engine, Protocol):
    """An engine whose captions can be explained."""

    def encode_with_map(self, images: npt.NDArray[np.uint8], /) -> tuple[Encoded, Floats]:
        """Runs the encoder as `encode` does; returns the outputs of its last convolution too, (B, H, W, C), float32."""

    def weights_behind_map(self) -> Weights:
        """Returns the tensors for which `model.attribution.is_behind_the_map` says so, as they are computed with.

        Raises:
            BundleError: They have to be read, and another bundle lies there now.
        """
