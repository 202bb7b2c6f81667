"""The gradients of the decoder and of the class layers with respect to what they read of a photo. NumPy only.

Computed from a bundle's weights, so that an engine without gradients can explain its words too.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from model.config import DecoderConfig

Floats = npt.NDArray[np.float32]


class _Cell(NamedTuple):
    """What one GRU cell computed at one step, each of shape (N, U)."""

    before: Floats
    update: Floats
    reset: Floats
    candidate: Floats
    recurrent: Floats


class DecoderGradient:
    """The decoder with the words of a caption given, and the gradient of each word's log-probability.

    Args:
        config: The architecture.
        weights: The decoder's tensors by `layer/variable`.

    Source:
        The equations of `model.decoder.Decoder` and back-propagation through time (Werbos 1990). The gradients of all
        words go back together, as rows of one matrix.
    """

    def __init__(self, config: DecoderConfig, weights: Mapping[str, npt.NDArray[Any]]) -> None:
        self._config = config
        get = {name: np.asarray(value, np.float32) for name, value in weights.items()}
        self._embeddings = get["embedding/embeddings"]  # (V, E)
        self._projection = _dense(get, "projection") if config.project_features else None
        names = [f"gru_{index}" for index in range(1, config.layers + 1)]
        self._cells = [(get[f"{name}/kernel"], get[f"{name}/recurrent_kernel"], *get[f"{name}/bias"]) for name in names]
        self._bottleneck = _dense(get, "bottleneck") if config.tied_embeddings else None
        self._output = (self._embeddings.T if config.tied_embeddings else get["output/kernel"], get["output/bias"])

    def log_probs(self, features: Floats, tokens: Sequence[int]) -> Floats:
        """Returns the log-probability of each word of one caption, given an image and the words before it.

        Args:
            features: Features of the images. Shape (N, D), float32.
            tokens: The words, T of them, at least one.

        Returns:
            Shape (N, T), float32, at most 0.
        """
        values, _ = self._forward(features, np.broadcast_to(tokens, (len(features), len(tokens))))
        chosen = [_log_softmax(self._scores(row))[:, token] for row, token in zip(values, tokens, strict=True)]
        return np.stack(chosen, axis=1)

    def gradient(self, feature: Floats, captions: Sequence[Sequence[int]]) -> list[Floats]:
        """Returns the gradients of one image's `log_probs` with respect to its feature, for several captions at once.

        Args:
            feature: Shape (D,), float32.
            captions: The words of each, at least one.

        Returns:
            For each caption of T words, shape (T, D), float32.
        """
        tokens = np.zeros((len(captions), max(map(len, captions))), np.int64)  # (N, T), shorter ones filled up
        for row, words in zip(tokens, captions, strict=True):
            row[: len(words)] = words
        values, cells = self._forward(np.broadcast_to(feature, (len(captions), len(feature))), tokens)
        scores = self._scores(values.reshape(-1, values.shape[-1]))
        rise = _rise(scores, tokens.T.reshape(-1)) @ self._output[0].T  # (T * N, U), or (T * N, E) where tied
        if self._bottleneck is not None:
            rise = rise @ self._bottleneck[0].T
        image = self._backward(rise.reshape(*tokens.T.shape, -1), cells)  # (T, N, E)
        found = image if self._projection is None else _product(image, self._projection[0].T)
        return [found[: len(words), index] for index, words in enumerate(captions)]

    def _forward(self, features: Floats, tokens: npt.NDArray[np.int64]) -> tuple[Floats, list[list[_Cell]]]:
        """Returns the last cell's outputs (T, N, U) for features (N, D) and words (N, T), and what each cell did."""
        image = features if self._projection is None else features @ self._projection[0] + self._projection[1]
        states = [np.zeros((len(image), self._config.units), np.float32)] * self._config.layers
        outputs: list[Floats] = []
        steps: list[list[_Cell]] = []
        for read in (image, *self._embeddings[tokens.T[:-1]]):  # (N, E)
            values = np.concatenate([read, image], axis=1) if self._config.image_every_step else read
            cells: list[_Cell] = []
            for index, (kernel, recurrent_kernel, bias, recurrent_bias) in enumerate(self._cells):
                inputs = values @ kernel + bias
                recurrent = states[index] @ recurrent_kernel + recurrent_bias
                states[index], cell = _advance(inputs, recurrent, states[index])
                cells.append(cell)
                values = states[index] + values if index and self._config.residual else states[index]
            outputs.append(values)
            steps.append(cells)
        return np.stack(outputs), steps

    def _scores(self, values: Floats) -> Floats:
        """Returns logits (…, V)."""
        if self._bottleneck is not None:
            values = values @ self._bottleneck[0] + self._bottleneck[1]
        return np.asarray(values @ self._output[0] + self._output[1])

    def _backward(self, rise: Floats, steps: list[list[_Cell]]) -> Floats:
        """Returns the gradients with respect to the projected image (T, N, E), given those of the outputs (T, N, U).

        Row t belongs to word t, which depends on the steps up to t alone.
        """
        units = self._config.embedding_units
        kernel = self._cells[0][0]
        beside = kernel[units:]  # empty where the image does not stand beside the words
        image = np.zeros((*rise.shape[:2], units), np.float32)
        carried = [np.zeros((*rise.shape[:2], self._config.units), np.float32) for _ in self._cells]
        for step in range(len(rise) - 1, -1, -1):
            gates = self._backward_step(rise[step], steps[step], [rows[step:] for rows in carried])
            if len(beside):
                image[step:] += _product(gates, beside.T)
            if step == 0:
                image += _product(gates, kernel[:units].T)
        return image

    def _backward_step(self, rise: Floats, cells: list[_Cell], carried: list[Floats]) -> Floats:
        """Goes back through one step; returns the gradient of the first cell's gates, (T - step, N, 3U).

        Args:
            rise: Gradient of the step's output, which belongs to the first row. Shape (N, U).
            cells: What the cells computed.
            carried: For each cell, the gradients of its output from the later steps, (T - step, N, U); changed into
                those of the state before it.
        """
        values = np.zeros_like(carried[-1])
        values[0] = rise
        gates = np.empty(0, np.float32)
        for index in range(len(cells) - 1, -1, -1):
            kernel, recurrent_kernel, _, _ = self._cells[index]
            gates, recurrent = _back(values + carried[index], cells[index])
            carried[index][:] = (values + carried[index]) * cells[index].update + _product(
                recurrent, recurrent_kernel.T
            )
            if index:
                values = _product(gates, kernel.T) + (values if self._config.residual else 0)
        return gates


class ClassGradient:
    """The fully connected layers, and the gradients of the second one and of the classes.

    Args:
        weights: Tensors of `fc1`, `fc2` and `predictions` by `layer/variable`.
    """

    def __init__(self, weights: Mapping[str, npt.NDArray[Any]]) -> None:
        get = {name: np.asarray(value, np.float32) for name, value in weights.items()}
        self._fc1, self._fc2, self._classes = (_dense(get, name) for name in ("fc1", "fc2", "predictions"))

    def second(self, pooled: Floats) -> Floats:
        """Returns the outputs of the second layer (F,) for the pooled map (P,)."""
        return self._hidden(pooled)[1]

    def gradient(self, pooled: Floats, classes: Sequence[int]) -> Floats:
        """Returns the gradient of the log-probability of each class with respect to the pooled map.

        Args:
            pooled: What the first layer reads. Shape (P,), float32.
            classes: N of them.

        Returns:
            Shape (N, P), float32.
        """
        _, second = self._hidden(pooled)
        scores = second @ self._classes[0] + self._classes[1]  # (C,)
        rise = _rise(np.broadcast_to(scores, (len(classes), len(scores))), classes)
        return self.carried(pooled, rise @ self._classes[0].T)

    def carried(self, pooled: Floats, rise: Floats) -> Floats:
        """Returns gradients with respect to the pooled map (N, P), given those of the second layer's outputs (N, F)."""
        first, second = self._hidden(pooled)
        rise = (rise * (second > 0)) @ self._fc2[0].T
        return np.asarray((rise * (first > 0)) @ self._fc1[0].T)

    def _hidden(self, pooled: Floats) -> tuple[Floats, Floats]:
        first = np.maximum(pooled @ self._fc1[0] + self._fc1[1], 0)
        return first, np.maximum(first @ self._fc2[0] + self._fc2[1], 0)


def _dense(weights: Mapping[str, Floats], name: str) -> tuple[Floats, Floats]:
    return weights[f"{name}/kernel"], weights[f"{name}/bias"]


def _advance(inputs: Floats, recurrent: Floats, state: Floats) -> tuple[Floats, _Cell]:
    """Returns the next state (N, U) from both halves of the gates (N, 3U); Keras's order update, reset, candidate."""
    update_in, reset_in, candidate_in = np.split(inputs, 3, axis=1)
    update_back, reset_back, candidate_back = np.split(recurrent, 3, axis=1)
    update = _sigmoid(update_in + update_back)
    reset = _sigmoid(reset_in + reset_back)
    candidate = np.tanh(candidate_in + reset * candidate_back)
    return candidate + update * (state - candidate), _Cell(state, update, reset, candidate, candidate_back)


def _back(rise: Floats, cell: _Cell) -> tuple[Floats, Floats]:
    """Returns the gradients of both halves of the gates, each (T, N, 3U), given that of the cell's output (T, N, U)."""
    candidate = rise * (1 - cell.update) * (1 - cell.candidate**2)
    update = rise * (cell.before - cell.candidate) * cell.update * (1 - cell.update)
    reset = candidate * cell.recurrent * cell.reset * (1 - cell.reset)
    inputs = np.concatenate([update, reset, candidate], axis=-1)
    return inputs, np.concatenate([update, reset, candidate * cell.reset], axis=-1)


def _product(values: Floats, matrix: Floats) -> Floats:
    """Returns values (..., K) times a matrix (K, M) as one product, which NumPy would otherwise do row by row."""
    return np.asarray((values.reshape(-1, len(matrix)) @ matrix).reshape(*values.shape[:-1], matrix.shape[1]))


def _rise(scores: Floats, chosen: Sequence[int] | npt.NDArray[np.int64]) -> Floats:
    """Returns the gradient of the log-probability of the chosen columns with respect to scores (N, V)."""
    rise = -np.exp(_log_softmax(scores))
    rows = np.arange(len(chosen))
    rise[rows, chosen] = 0
    # The others add up to it: 1 - p would lose its digits where a word is almost certain.
    rise[rows, chosen] = -rise.sum(axis=1)
    return rise


def _log_softmax(scores: Floats) -> Floats:
    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * values))
