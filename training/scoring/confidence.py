"""How far a captioner's probabilities can be believed, and the temperature that makes them believable."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.bundle import Bundle
from model.calibration import calibrated
from model.captioner import Caption, Captioner
from model.config import CONFIDENCE_TEMPERATURES
from model.decoder import Decoder
from model.engines.tensorflow import TensorFlowEngine
from model.vocabulary import PAD_ID, UNKNOWN_ID
from model.weights import assign_weights
from training.data.pipeline import split_batches
from training.scoring.references import language_of, padded_batches

BINS = 15
"""Bins of the calibration error, as many as Guo et al. take."""

_STEPS = 60

Values = npt.NDArray[np.float64]


class Confidence(NamedTuple):
    """Log-probabilities, and how often what they belong to was right.

    Attributes:
        log_probs: Natural logarithms. Shape (N,).
        right: Share of the references that agree, in [0, 1]. Shape (N,).
    """

    log_probs: Values
    right: Values

    def at(self, temperature: float) -> "Confidence":
        """Returns what a bundle with that temperature would report; of single words alone."""
        return self._replace(log_probs=np.array([calibrated(value, temperature) for value in self.log_probs]))

    @property
    def error(self) -> float:
        """Returns the expected calibration error of the probabilities, in [0, 1]."""
        return expected_calibration_error(np.exp(self.log_probs), self.right)


class Calibration(NamedTuple):
    """What was measured on a split.

    Attributes:
        split: Its name.
        temperature: The best one for the split's words.
        words: The most probable word at every place of the reference captions, as the decoder gives it.
        sentences: The best caption of every photo, by temperature.
    """

    split: str
    temperature: float
    words: Confidence
    sentences: dict[float, Confidence]

    def table(self) -> list[tuple[str, ...]]:
        """Returns the errors as text: a row of temperatures, then words and sentences, in percent."""
        temperatures = list(self.sentences)
        rows = [("", *(f"temperature {value:.3f}" for value in temperatures))]
        rows.append(("ECE of words, %", *(f"{100 * self.words.at(value).error:.2f}" for value in temperatures)))
        rows.append(("ECE of sentences, %", *(f"{100 * found.error:.2f}" for found in self.sentences.values())))
        return rows

    def to_json(self) -> dict[str, Any]:
        """Returns the errors of words before and after, as a bundle's provenance keeps them."""
        return {
            "split": self.split,
            "words": len(self.words.right),
            "ECE of words before": round(self.words.error, 4),
            "ECE of words after": round(self.words.at(self.temperature).error, 4),
        }


def expected_calibration_error(probabilities: Values, right: Values, bins: int = BINS) -> float:
    """Returns how far probabilities are from how often they are right: the mean over bins of equal width, by counts.

    Args:
        probabilities: In [0, 1]. Shape (N,), N at least 1.
        right: 1 where it was right, else 0; or a share. Shape (N,).
        bins: Number of bins.

    Source:
        Guo et al. 2017, eq. 3 (arXiv:1706.04599).
    """
    place = np.minimum((probabilities * bins).astype(np.intp), bins - 1)
    gaps = np.bincount(place, weights=right - probabilities, minlength=bins)
    return float(np.abs(gaps).sum() / len(probabilities))


def fit_temperature(found: Confidence) -> float:
    """Returns the temperature at which the words that were right are most probable, and the others least.

    Args:
        found: Words, as the decoder gives them.

    Returns:
        The temperature of the least cross-entropy, within the bounds of a configuration. The loss is convex in its
        inverse, whose derivative is followed to zero by halving.
    """
    logs = np.minimum(found.log_probs, -1e-12)
    odds = logs - np.log(-np.expm1(logs))
    high, low = (1 / bound for bound in CONFIDENCE_TEMPERATURES)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        slope = float(((0.5 + 0.5 * np.tanh(0.5 * middle * odds) - found.right) * odds).sum())
        if slope > 0:
            high = middle
        else:
            low = middle
    return 2 / (low + high)


def measure_confidence(bundle: Bundle, records: Path, split: str, batch_size: int = 32) -> Calibration:
    """Measures a bundle's probabilities on a split, and finds the temperature that fits them.

    Words: at every place of every reference caption, the most probable word after the true words before it, and
    whether it is the true one. Sentences: the best caption of every photo, and how many of its references say the same.

    Args:
        bundle: What to measure; its networks run in float32.
        records: Finished records.
        split: `train`, `dev` or `test`.
        batch_size: Images captioned at once.

    Returns:
        Errors at temperature 1, at the bundle's own, and at the best one.
    """
    engine = TensorFlowEngine.of(bundle)
    tokenizer = language_of(records, bundle.config.segmentation).tokenizer
    captioner = Captioner(replace(bundle.config, confidence_temperature=1.0), bundle.vocabulary, bundle.classes, engine)
    meter = _WordMeter(bundle)
    said: list[tuple[tuple[float, ...], float]] = []
    for batch in split_batches(records, split, batch_size, f"captioning {split}"):
        images = batch.images.numpy()
        references = [[text.decode() for text in row.numpy()] for row in batch.captions]
        told = [[bundle.vocabulary.encode(text, tokenizer=tokenizer) for text in row] for row in references]
        meter.add(np.asarray(engine.encode(images).features), told)
        for prediction, texts in zip(captioner.predict(images, classes=0), references, strict=True):
            told_words = [word.text for word in prediction.captions[0].words]
            right = fmean(list(tokenizer(text)) == told_words for text in texts)
            said.append((_parts(prediction.captions[0], bundle.config.search.max_words), right))
    words = meter.result()
    best = fit_temperature(words)
    temperatures = dict.fromkeys((1.0, bundle.config.confidence_temperature, best))
    return Calibration(split, best, words, {value: _sentences(said, value) for value in temperatures})


def _parts(caption: Caption, most_words: int) -> tuple[float, ...]:
    """Returns the log-probabilities of a caption's words and, unless it was cut, of its end."""
    logs = tuple(math.log(word.probability) for word in caption.words)
    return logs if len(logs) == most_words else (*logs, min(caption.log_probability - sum(logs), 0.0))


def _sentences(said: Sequence[tuple[tuple[float, ...], float]], temperature: float) -> Confidence:
    logs = [sum(calibrated(value, temperature) for value in parts) for parts, _ in said]
    return Confidence(np.array(logs), np.array([right for _, right in said]))


class _WordMeter:
    """The most probable words of reference captions with teacher forcing, and whether they are the true ones."""

    def __init__(self, bundle: Bundle) -> None:
        self._decoder = Decoder(bundle.config.decoder, bundle.config.encoder.feature_units)
        assign_weights(self._decoder, bundle.weights, "decoder")
        shapes = [tf.TensorSpec((None, None), tf.float32), tf.TensorSpec((None, None), tf.int32)]
        self._best = tf.function(self._best_graph, input_signature=shapes)
        self._logs: list[npt.NDArray[np.float32]] = []
        self._right: list[npt.NDArray[np.bool_]] = []

    def add(self, features: npt.NDArray[np.float32], references: Sequence[Sequence[Sequence[int]]]) -> None:
        """Adds the words of photos' reference captions."""
        captions = [(row, ids) for row, told in enumerate(references) for ids in told]
        for rows, tokens in padded_batches(captions):
            logs, words = (value.numpy() for value in self._best(features[rows], tokens))
            is_word = tokens != PAD_ID
            self._logs.append(logs[is_word])
            self._right.append((words == tokens)[is_word])

    def result(self) -> Confidence:
        """Returns all words so far."""
        return Confidence(np.concatenate(self._logs).astype(np.float64), np.concatenate(self._right).astype(np.float64))

    def _best_graph(self, features: tf.Tensor, tokens: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        log_probs = tf.nn.log_softmax(self._decoder(features, tokens))  # (S, T, V)
        barred = np.isin(np.arange(self._decoder.config.vocabulary_size), (PAD_ID, UNKNOWN_ID))
        best = tf.math.top_k(tf.where(barred, -np.inf, log_probs), 1)
        return best.values[..., 0], best.indices[..., 0]
