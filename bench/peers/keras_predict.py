"""Keras `predict` for the encoder and for every word, with the best words chosen in NumPy: the plain Python loop."""

from typing import Any, Self

import keras
import numpy as np
import numpy.typing as npt

from bench.peers.once import run_once
from model.bundle import Bundle
from model.config import MAX_BEAM_SIZE
from model.decoder import Decoder
from model.encoder import build_encoder
from model.engines.protocol import Encoded
from model.search import Floats, Ints
from model.vocabulary import END_ID, PAD_ID, UNKNOWN_ID
from model.weights import assign_weights


class KerasPredictEngine:
    """An engine that runs the Keras models by `Model.predict`.

    Args:
        encoder: From `build_encoder`.
        decoder: Its decoder, built.
    """

    name = "Keras predict"

    def __init__(self, encoder: keras.Model, decoder: Decoder) -> None:
        self._encoder = encoder
        self._start = _Start(decoder)
        self._step = _Step(decoder)

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """Builds encoder and decoder with a bundle's weights."""
        config = bundle.config
        encoder = build_encoder(config.encoder)
        decoder = Decoder(config.decoder, config.encoder.feature_units)
        assign_weights(encoder, bundle.weights, "encoder")
        assign_weights(decoder, bundle.weights, "decoder")
        return cls(encoder, decoder)

    def warm_up(self) -> None:
        """Runs everything once; see `Engine.warm_up`."""
        run_once(self)

    def encode(self, images: npt.NDArray[np.uint8]) -> Encoded:
        """Runs the encoder; see `Engine.encode`."""
        outputs = self._encoder.predict(images, verbose=0)
        return Encoded(outputs["features"], np.exp(_log_softmax(outputs["logits"])))

    def start(self, features: Any) -> tuple[Floats, Ints, Any]:
        """Reads the features; see `Engine.start`."""
        logits, state = self._start.predict(features, verbose=0)
        return (*_best(logits, (PAD_ID, UNKNOWN_ID, END_ID)), state)

    def step(self, tokens: Ints, parents: Ints, state: Any) -> tuple[Floats, Ints, Any]:
        """Scores the next words; see `Engine.step`."""
        logits, state = self._step.predict((tokens, state[parents]), verbose=0)
        return (*_best(logits, (PAD_ID, UNKNOWN_ID)), state)


class _Start(keras.Model):  # type: ignore[misc]
    """The decoder's first step as a Keras model."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(name="one_step")
        self.decoder = decoder

    def call(self, features: Any) -> Any:
        return self.decoder.start(features)


class _Step(_Start):
    """The decoder's further steps as a Keras model."""

    def call(self, inputs: tuple[Any, Any]) -> Any:
        return self.decoder.step(*inputs)


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _best(logits: Floats, excluded: tuple[int, ...]) -> tuple[Floats, Ints]:
    log_probs = _log_softmax(logits)  # (N, V)
    log_probs[:, excluded] = -np.inf
    count = min(MAX_BEAM_SIZE, log_probs.shape[1])
    ids = np.argpartition(-log_probs, count - 1, axis=1)[:, :count]  # (N, M)
    order = np.argsort(-np.take_along_axis(log_probs, ids, axis=1), axis=1, kind="stable")
    ids = np.take_along_axis(ids, order, axis=1)
    return np.take_along_axis(log_probs, ids, axis=1), ids.astype(np.int32)
