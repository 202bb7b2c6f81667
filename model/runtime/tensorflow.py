"""The TensorFlow engine: reference for parity, and the one that uses a GPU."""

import contextlib
from typing import Any, Self

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.bundle import Bundle
from model.decoder import Decoder
from model.encoder import build_encoder
from model.runtime.protocol import MAX_BEAM_SIZE, Encoded
from model.search import Floats, Ints
from model.vocabulary import END_ID, PAD_ID, UNKNOWN_ID
from model.weights import assign_weights


class TensorFlowEngine:
    """Runs an encoder and a decoder in float32 as three functions, each traced once whatever the batch size.

    Args:
        encoder: From `build_encoder`.
        decoder: Its decoder, built.
    """

    name = "tensorflow"

    def __init__(self, encoder: keras.Model, decoder: Decoder) -> None:
        self._encoder, self._decoder = encoder, decoder
        self._candidates = min(MAX_BEAM_SIZE, decoder.config.vocabulary_size)
        state = tf.TensorSpec((None, decoder.config.layers, decoder.config.units), tf.float32)
        pixels = tf.TensorSpec((None, *encoder.input_shape[1:]), tf.uint8)
        features = tf.TensorSpec((None, encoder.output["features"].shape[-1]), tf.float32)
        rows = tf.TensorSpec((None,), tf.int32)
        self._encode = tf.function(self._encode_graph, input_signature=[pixels])
        self._start = tf.function(self._start_graph, input_signature=[features])
        self._step = tf.function(self._step_graph, input_signature=[rows, rows, state])

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """Builds the networks of a bundle with its weights; a GPU's memory is taken as it is needed."""
        for gpu in tf.config.list_physical_devices("GPU"):
            with contextlib.suppress(RuntimeError):  # it is in use already, and then as it was set up
                tf.config.experimental.set_memory_growth(gpu, True)
        config = bundle.config
        encoder, decoder = build_encoder(config.encoder), Decoder(config.decoder, config.encoder.fc_units)
        assign_weights(encoder, bundle.weights, "encoder")
        assign_weights(decoder, bundle.weights, "decoder")
        return cls(encoder, decoder)

    def encode(self, images: npt.NDArray[np.uint8]) -> Encoded:
        """Runs the encoder; see `Engine.encode`."""
        features, probabilities = self._encode(tf.constant(images))
        return Encoded(features, probabilities.numpy())

    def start(self, features: Any) -> tuple[Floats, Ints, Any]:
        """Reads the features; see `Engine.start`."""
        log_probs, ids, state = self._start(tf.convert_to_tensor(features))
        return log_probs.numpy(), ids.numpy(), state

    def step(self, tokens: Ints, parents: Ints, state: Any) -> tuple[Floats, Ints, Any]:
        """Scores the next words; see `Engine.step`."""
        log_probs, ids, state = self._step(tf.constant(tokens), tf.constant(parents), state)
        return log_probs.numpy(), ids.numpy(), state

    def _encode_graph(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = self._encoder(images, training=False)
        return outputs["features"], tf.nn.softmax(outputs["logits"])

    def _start_graph(self, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        logits, state = self._decoder.start(features)
        return (*self._best(logits, (PAD_ID, UNKNOWN_ID, END_ID)), state)

    def _step_graph(
        self, tokens: tf.Tensor, parents: tf.Tensor, state: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        logits, state = self._decoder.step(tokens, tf.gather(state, parents))
        return (*self._best(logits, (PAD_ID, UNKNOWN_ID)), state)

    def _best(self, logits: tf.Tensor, excluded: tuple[int, ...]) -> tuple[tf.Tensor, tf.Tensor]:
        log_probs = tf.nn.log_softmax(logits)  # (N, V)
        barred = np.isin(np.arange(logits.shape[-1]), excluded)
        best = tf.math.top_k(tf.where(barred, -np.inf, log_probs), self._candidates)
        return best.values, best.indices
