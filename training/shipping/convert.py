"""Conversion of a bundle's weights to the files of the CPU engine.

The weights of the encoder and of a large decoder are int8; their activations are quantised at run time.

Source:
    Dynamic range quantisation of LiteRT (weights per channel, activations per row); the arithmetic follows Jacob et
    al. 2017 (arXiv:1712.05877).
"""

import contextlib
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from ai_edge_quantizer.qtyping import (
    ComputePrecision,
    OpQuantizationConfig,
    TensorDataType,
    TensorQuantizationConfig,
    TFLOperationName,
)
from ai_edge_quantizer.quantizer import AlgorithmName, Quantizer

from model.bundle import LITE_DECODER, LITE_ENCODER, Bundle
from model.config import IMAGE_PIXELS, MAX_BEAM_SIZE
from model.encoder import build_encoder
from model.tensors import Int8Kernel
from model.vocabulary import END_ID, PAD_ID, UNKNOWN_ID
from model.weights import assign_weights
from training.data.feed import Feed
from training.data.pipeline import ImageRecord, image_batches
from training.encoder.folding import gains_by_branch, with_branches
from training.shipping.rounding import round_weights

Floats = npt.NDArray[np.float32]


class FloatWeights(NamedTuple):
    """The most weights of a part that keeps float arithmetic.

    Attributes:
        convolution: Of a convolution of the encoder.
        dense: Of a fully connected layer of the encoder. In a small encoder, the first four convolutions and fc1 stay
            float. In int8 they would save 0.6 ms of 1.9, and five captions in a hundred would have another word
            instead of two. At full size hardly any layer is as small.
        decoder: Of a decoder, whose weights are float16 then. They stay in the CPU's cache: int8 would save 0.1 ms of
            0.25 ms a word, and one caption in ten would have another word. A larger decoder spends its time
            reading weights, which are a quarter as large in int8.
    """

    convolution: int = 2**14
    dense: int = 2**19
    decoder: int = 8_000_000


FLOAT_WEIGHTS = FloatWeights()

CALIBRATION_PHOTOS = 256


def calibration_photos(records: Path) -> npt.NDArray[np.uint8]:
    """Returns the first training photos of finished records, at most CALIBRATION_PHOTOS, (P, 224, 224, 3)."""
    with Feed(image_batches(records, "train", CALIBRATION_PHOTOS)) as batches:
        return np.asarray(ImageRecord(*next(batches)).images)


class Converted(NamedTuple):
    """The files of the CPU engine, and the kernels in them.

    Attributes:
        files: Contents of `encoder.tflite` and `decoder.tflite` by file name.
        kernels: The encoder's int8 kernels, by the bundle's names. A bundle with these weights
            (`Int8Kernel.kernel`) has the same encoder on every engine.
    """

    files: dict[str, bytes]
    kernels: dict[str, Int8Kernel]


def convert(
    bundle: Bundle, photos: npt.NDArray[np.uint8] | None = None, *, float_weights: FloatWeights = FLOAT_WEIGHTS
) -> Converted:
    """Converts a bundle for the CPU engine.

    Args:
        bundle: What to convert.
        photos: Photos on which the rounding of the encoder's weights is calibrated; see `training.shipping.rounding`.
            Shape (P, 224, 224, 3), uint8. None for rounding each weight to its nearest step.
        float_weights: Largest sizes that keep float arithmetic.

    Returns:
        Files and kernels. The encoder has the signature `encode`, from `images` (B, 224, 224, 3) uint8 to `features`
        (B, D) and `probabilities` (B, C). The decoder has `start`, from `features`, and `step`, from `tokens` (N,),
        `parents` (N,) and `state` (R, S); both give `log_probs` and `ids` (N, M) and `state`, as
        `model.engines.protocol.Engine` describes them.
    """
    encoder = build_encoder(bundle.config.encoder)
    assign_weights(encoder, bundle.weights, "encoder")
    branched = frozenset(layer.name for layer in encoder.layers if layer.weights and gains_by_branch(layer.kernel))
    network = with_branches(encoder, branched)
    kept = [layer for layer in network.layers if layer.weights and _keeps_float(layer, float_weights)]
    kernels = round_weights(network, photos, kept)
    for name in branched:
        if name not in kernels and not network.get_layer(name).weights:  # a pure identity: not computed
            kernels[name] = Int8Kernel.nearest(np.zeros(encoder.get_layer(name).kernel.shape, np.float32))
    return Converted(
        {LITE_ENCODER: _encoder_file(network, kept), LITE_DECODER: _decoder_file(bundle, float_weights)},
        {f"encoder/{name}/kernel": replace(kernel, has_identity=name in branched) for name, kernel in kernels.items()},
    )


def _encoder_file(encoder: keras.Model, kept: Sequence[keras.layers.Layer]) -> bytes:
    def encode(images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = encoder(images, training=False)
        return {"features": outputs["features"], "probabilities": tf.nn.softmax(outputs["logits"])}

    archive = keras.export.ExportArchive()
    archive.track(encoder)
    pixels = keras.InputSpec(shape=(None, IMAGE_PIXELS, IMAGE_PIXELS, 3), dtype="uint8", name="images")
    archive.add_endpoint("encode", encode, input_signature=[pixels])
    quantizer = Quantizer(_to_lite(lambda path: archive.write_out(path, verbose=False), ["encode"]))
    _to_int8(quantizer)
    for layer in kept:
        quantizer.update_quantization_recipe(
            f"/{layer.name}_", TFLOperationName.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE
        )
    return _quantized_file(quantizer)


def _keeps_float(layer: keras.layers.Layer, most_weights: FloatWeights) -> bool:
    most = most_weights.dense if isinstance(layer, keras.layers.Dense) else most_weights.convolution
    return bool(layer.count_params() <= most)


def _decoder_file(bundle: Bundle, most_weights: FloatWeights) -> bytes:
    module = tf.Module()
    graph = _DecoderGraph(bundle)
    rows = tf.TensorSpec((None,), tf.int32)
    state = tf.TensorSpec((None, graph.state_units), tf.float32)
    features = tf.TensorSpec((None, bundle.config.encoder.feature_units), tf.float32)
    module.start = tf.function(graph.start, input_signature=[features])
    module.step = tf.function(graph.step, input_signature=[rows, rows, state])
    signatures = {"start": module.start, "step": module.step}
    quantizer = Quantizer(_to_lite(lambda path: tf.saved_model.save(module, path, signatures), list(signatures)))
    if sum(value.size for name, value in bundle.weights.items() if name.startswith("decoder/")) > most_weights.decoder:
        _to_int8(quantizer)
    else:
        _to_float16(quantizer)
    return _quantized_file(quantizer)


def _to_lite(save: Callable[[str], Any], signatures: list[str]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save(folder)
        return bytes(tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=signatures).convert())


def _to_int8(quantizer: Quantizer) -> None:
    for operation in (TFLOperationName.CONV_2D, TFLOperationName.FULLY_CONNECTED):
        quantizer.add_dynamic_config(regex=".*", operation_name=operation, num_bits=8)


def _to_float16(quantizer: Quantizer) -> None:
    half = TensorQuantizationConfig(num_bits=16, dtype=TensorDataType.FLOAT)
    config = OpQuantizationConfig(
        weight_tensor_config=half, compute_precision=ComputePrecision.FLOAT, explicit_dequantize=True
    )
    quantizer.update_quantization_recipe(".*", TFLOperationName.FULLY_CONNECTED, config, AlgorithmName.FLOAT_CASTING)


def _quantized_file(quantizer: Quantizer) -> bytes:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a summary
        return bytes(quantizer.quantize().quantized_model)


class _DecoderGraph:
    """The graph of `model.decoder.Decoder`, with everything multiplied out beforehand that can be.

    Every word's embedding is multiplied by the first GRU's input weights, so that a step looks up a row instead of
    multiplying. The rows (V, 3U) are int16, each with a scale: with int8, one caption in ten has another word. A row
    that is never looked up is never read from disk. The projection of the feature is not multiplied out: two small
    matrices have fewer weights than their product. If the image stands beside every input, its part of the first
    cell's gates (3U) is computed once and carried in the state, after the states of the cells.
    """

    def __init__(self, bundle: Bundle) -> None:
        config = bundle.config.decoder
        weights = {
            name.removeprefix("decoder/"): np.asarray(value, np.float32)
            for name, value in bundle.weights.items()
            if name.startswith("decoder/")
        }
        self.layers = config.layers
        self.units = config.units
        self._residual = config.residual
        self.state_units = self.units * (self.layers + (3 if config.image_every_step else 0))
        self._candidates = min(MAX_BEAM_SIZE, config.vocabulary_size)
        names = [f"gru_{layer}" for layer in range(1, self.layers + 1)]
        self._kernels = [weights[f"{name}/kernel"] for name in names]
        self._recurrent = [weights[f"{name}/recurrent_kernel"] for name in names]
        self._biases = [weights[f"{name}/bias"] for name in names]
        embeddings = weights["embedding/embeddings"]
        self._bottleneck = None
        if config.tied_embeddings:
            self._bottleneck = weights["bottleneck/kernel"], weights["bottleneck/bias"]
        kernel = embeddings.T if config.tied_embeddings else weights["output/kernel"]
        self._output = kernel, weights["output/bias"]
        first, beside = np.split(self._kernels[0], [config.embedding_units])
        self._first = first + beside if len(beside) else first
        self._beside = beside
        self._rows, self._scales = _quantized(embeddings @ first + self._biases[0][0])
        self._projection = None
        if config.project_features:
            self._projection = weights["projection/kernel"], weights["projection/bias"]

    def start(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        """Reads the features (B, D)."""
        if self._projection is not None:
            features = tf.matmul(features, self._projection[0]) + self._projection[1]  # (B, E)
        values = tf.matmul(features, self._first) + self._biases[0][0]  # (B, 3U)
        image = tf.matmul(features, self._beside) if len(self._beside) else None
        return self._advance(values, None, image, (PAD_ID, UNKNOWN_ID, END_ID))

    def step(self, tokens: tf.Tensor, parents: tf.Tensor, state: tf.Tensor) -> dict[str, tf.Tensor]:
        """Continues the rows `parents` of the state (R, S) with `tokens` (N,)."""
        values = tf.cast(tf.gather(self._rows, tokens), tf.float32) * tf.gather(self._scales, tokens)  # (N, 3U)
        cells = self.layers * self.units
        image = None
        state = tf.gather(state, parents)
        if self.state_units > cells:
            image = state[:, cells:]
            state = state[:, :cells]
            values += image
        return self._advance(values, tf.split(state, self.layers, axis=1), image, (PAD_ID, UNKNOWN_ID))

    def _advance(
        self, values: tf.Tensor, before: list[tf.Tensor] | None, image: tf.Tensor | None, excluded: tuple[int, ...]
    ) -> dict[str, tf.Tensor]:
        """Runs the cells from the first one's gate inputs (N, 3U); no state means zeros."""
        states: list[tf.Tensor] = []
        for layer in range(self.layers):
            inputs = values if layer == 0 else tf.matmul(values, self._kernels[layer]) + self._biases[layer][0]
            recurrent = self._biases[layer][1][None]
            if before is not None:
                recurrent = tf.matmul(before[layer], self._recurrent[layer]) + recurrent  # (N, 3U)
            outputs = _gru(inputs, recurrent, tf.zeros(()) if before is None else before[layer])  # (N, U)
            states.append(outputs)
            values = outputs + values if layer and self._residual else outputs
        log_probs, ids = self._best(values, excluded)
        kept = [] if image is None else [image]
        return {"log_probs": log_probs, "ids": ids, "state": tf.concat([*states, *kept], axis=1)}

    def _best(self, values: tf.Tensor, excluded: tuple[int, ...]) -> tuple[tf.Tensor, tf.Tensor]:
        if self._bottleneck is not None:
            values = tf.matmul(values, self._bottleneck[0]) + self._bottleneck[1]  # (N, E)
        kernel, bias = self._output
        logits = tf.matmul(values, kernel) + bias  # (N, V)
        log_probs = logits - tf.reduce_logsumexp(logits, axis=1, keepdims=True)
        barred = np.where(np.isin(np.arange(len(bias)), excluded), -np.inf, 0.0).astype(np.float32)
        best = tf.math.top_k(log_probs + barred, self._candidates)
        return best.values, best.indices


def _gru(inputs: tf.Tensor, recurrent: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
    """Returns the next state (N, U) from both halves of the gates (N, 3U); Keras's order update, reset, candidate."""
    update, reset, candidate = tf.split(inputs, 3, axis=1)
    recurrent_update, recurrent_reset, recurrent_candidate = tf.split(recurrent, 3, axis=1)
    kept = tf.sigmoid(update + recurrent_update)
    proposed = tf.tanh(candidate + tf.sigmoid(reset + recurrent_reset) * recurrent_candidate)
    return proposed + kept * (state - proposed)


def _quantized(rows: Floats) -> tuple[npt.NDArray[np.int16], Floats]:
    """Returns int16 values (V, 3U) and the scale of each row (V, 1) that they are multiplied with."""
    scales = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-12) / np.iinfo(np.int16).max
    return np.round(rows / scales).astype(np.int16), scales.astype(np.float32)
