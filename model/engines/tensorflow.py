"""The TensorFlow engine: reference for parity, and the one that uses a GPU."""

import contextlib
from collections.abc import Callable
from typing import Any, Self

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.attribution import is_behind_the_map
from model.blocks import BLOCKS
from model.bundle import Bundle
from model.config import MAX_BEAM_SIZE
from model.decoder import Decoder
from model.encoder import build_encoder
from model.engines.choice import Precision
from model.engines.protocol import Encoded
from model.ranges import check_choice
from model.search import Floats, Ints
from model.tensors import Weights
from model.vocabulary import END_ID, PAD_ID, UNKNOWN_ID
from model.weights import assign_weights, bundle_weights

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}

MAX_ENCODE_BATCH = 16
"""Images encoded at once; more are encoded one such batch after the other."""

WARM_ROWS = MAX_ENCODE_BATCH * MAX_BEAM_SIZE
"""Hypotheses up to which `warm_up` traces."""


class TensorFlowEngine:
    """The engine that runs Keras models as three functions. Batches are padded to powers of two, so few are traced.

    Words and scores come to the host at every step; the state stays on the device.

    Args:
        encoder: From `build_encoder`.
        decoder: Its decoder, built.
    """

    name = "tensorflow"

    def __init__(self, encoder: keras.Model, decoder: Decoder) -> None:
        self._encoder = encoder
        self._decoder = decoder
        self._candidates = min(MAX_BEAM_SIZE, decoder.config.vocabulary_size)
        self._functions: dict[tuple[str, int], Any] = {}
        self._map_encoder: Any = None

    @classmethod
    def of(cls, bundle: Bundle, precision: Precision = "float32", threads: int | None = None) -> Self:
        """Builds encoder and decoder with a bundle's weights; GPU memory grows as needed.

        Args:
            bundle: Architecture and weights.
            precision: Arithmetic of the encoder; the decoder's is float32, so that probabilities are.
            threads: How many threads compute on the CPU, in a process that has not used TensorFlow yet; None for one
                on each core.

        Raises:
            ConfigError: There is no such precision.
        """
        check_choice("precision", precision, list(_POLICIES))
        if threads is not None:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        for gpu in tf.config.list_physical_devices("GPU"):
            with contextlib.suppress(RuntimeError):  # the GPU is in use already, with its memory set up
                tf.config.experimental.set_memory_growth(gpu, True)
        config = bundle.config
        usual = keras.config.dtype_policy()
        keras.config.set_dtype_policy(_POLICIES[precision])
        try:
            encoder = build_encoder(config.encoder)
        finally:
            keras.config.set_dtype_policy(usual)
        decoder = Decoder(config.decoder, config.encoder.feature_units)
        assign_weights(encoder, bundle.weights, "encoder")
        assign_weights(decoder, bundle.weights, "decoder")
        return cls(encoder, decoder)

    @property
    def traces(self) -> int:
        """Returns how many graphs have been traced so far."""
        return sum(function.experimental_get_tracing_count() for function in self._functions.values())

    def warm_up(self) -> None:
        """Traces every function for all sizes that a server meets; see `Engine.warm_up`."""
        size = 1
        while size < 2 * WARM_ROWS:
            if size <= MAX_ENCODE_BATCH:
                self.start(self.encode(np.zeros((size, *self._encoder.input_shape[1:]), np.uint8)).features)
            rows = np.zeros(size, np.int32)
            self.step(rows, rows, tf.zeros((1, self._decoder.config.state_units)))
            size *= 2

    def encode(self, images: npt.NDArray[np.uint8]) -> Encoded:
        """Runs the encoder; see `Engine.encode`."""
        return Encoded(*self._encode_parts(self._encode_graph, images))

    def encode_with_map(self, images: npt.NDArray[np.uint8]) -> tuple[Encoded, Floats]:
        """Runs the encoder; see `ExplainingEngine.encode_with_map`."""
        if self._map_encoder is None:
            last = self._encoder.get_layer(f"{BLOCKS[-1].name}_pool").input
            self._map_encoder = keras.Model(self._encoder.input, {**self._encoder.output, "map": last})
        features, probabilities, last_map = self._encode_parts(self._encode_map_graph, images)
        return Encoded(features, probabilities), last_map

    def weights_behind_map(self) -> Weights:
        """Returns the weights; see `ExplainingEngine.weights_behind_map`."""
        weights = bundle_weights(self._encoder, self._decoder, np.float32)
        return {name: value for name, value in weights.items() if is_behind_the_map(name)}

    def start(self, features: Any) -> tuple[Floats, Ints, Any]:
        """Reads the features; see `Engine.start`."""
        log_probs, ids, state = self._run(self._start_graph, _padded(np.asarray(features)))
        return log_probs.numpy()[: len(features)], ids.numpy()[: len(features)], state

    def step(self, tokens: Ints, parents: Ints, state: Any) -> tuple[Floats, Ints, Any]:
        """Scores the next words; see `Engine.step`."""
        # Gathered outside the graph, which would be traced for every pair of sizes before and after.
        log_probs, ids, state = self._run(self._step_graph, _padded(tokens), tf.gather(state, _padded(parents)))
        return log_probs.numpy()[: len(tokens)], ids.numpy()[: len(tokens)], state

    def _encode_parts(self, graph: Callable[..., Any], images: npt.NDArray[np.uint8]) -> list[Floats]:
        parts = []
        for begin in range(0, len(images), MAX_ENCODE_BATCH):
            batch = images[begin : begin + MAX_ENCODE_BATCH]
            parts.append([output.numpy()[: len(batch)] for output in self._run(graph, _padded(batch))])
        return [np.concatenate(values) for values in zip(*parts, strict=True)]

    def _run(self, graph: Callable[..., Any], *inputs: tf.Tensor) -> Any:
        # One function for each size: TensorFlow warns of a function that is traced for many.
        key = (graph.__name__, len(inputs[0]))
        if key not in self._functions:
            self._functions[key] = tf.function(graph)
        return self._functions[key](*inputs)

    def _encode_graph(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = self._encoder(images, training=False)
        return outputs["features"], tf.nn.softmax(outputs["logits"])

    def _encode_map_graph(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        outputs = self._map_encoder(images, training=False)
        return outputs["features"], tf.nn.softmax(outputs["logits"]), tf.cast(outputs["map"], tf.float32)

    def _start_graph(self, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        logits, state = self._decoder.start(features)
        return (*self._best(logits, (PAD_ID, UNKNOWN_ID, END_ID)), state)

    def _step_graph(self, tokens: tf.Tensor, state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        logits, state = self._decoder.step(tokens, state)
        return (*self._best(logits, (PAD_ID, UNKNOWN_ID)), state)

    def _best(self, logits: tf.Tensor, excluded: tuple[int, ...]) -> tuple[tf.Tensor, tf.Tensor]:
        log_probs = tf.nn.log_softmax(logits)  # (N, V)
        barred = np.isin(np.arange(logits.shape[-1]), excluded)
        best = tf.math.top_k(tf.where(barred, -np.inf, log_probs), self._candidates)
        return best.values, best.indices


def _padded(values: npt.NDArray[Any]) -> tf.Tensor:
    """Returns rows (N, …) with rows of zeros up to the next power of two."""
    size = 1 << (len(values) - 1).bit_length()
    return tf.constant(np.pad(values, [(0, size - len(values))] + [(0, 0)] * (values.ndim - 1)))
