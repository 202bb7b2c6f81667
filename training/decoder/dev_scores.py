"""The scores of dev while a network is trained, on any Keras backend."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from model.config import CaptionerConfig
from model.decoder import Decoder
from model.search import beam_search
from model.vocabulary import END_ID, PAD_ID, UNKNOWN_ID
from training.data.mixing import source_of
from training.data.packed import Packed
from training.decoder.consensus import Consensus

BATCH = 250
"""Photos that the encoder reads at once."""


class DevScores:
    """The scores of dev: CIDEr-D of greedy captions on each source, and top-1 of the held-out classes.

    Args:
        encoder: The encoder.
        decoder: The decoder.
        data: The photos.
        config: Architecture and search.
    """

    def __init__(self, encoder: keras.Model, decoder: Decoder, data: Packed, config: CaptionerConfig) -> None:
        self._encoder = encoder
        self._steps = KerasSteps(decoder)
        self._data = data
        self._search = replace(config.search, beam_size=1)
        rows = data.rows("dev")
        sources = [source_of(data.names[row]) for row in rows]
        self._rows = {name: rows[[s == name for s in sources]] for name in dict.fromkeys(sources)}
        self._rewards = {
            name: Consensus([_references(data.tokens[row]) for row in rows]) for name, rows in self._rows.items()
        }
        self._held_out = data.rows("held_out")

    def scores(self) -> Mapping[str, float]:
        """Returns CIDEr of each source and their mean, as `CIDEr`, and `top1`."""
        found = {f"CIDEr/{name}": self._cider(name) for name in self._rows}
        figures = {"CIDEr": float(np.mean(list(found.values()))), **found}
        if len(self._held_out):
            guessed = self._outputs(self._held_out)["logits"].argmax(axis=-1)
            figures["top1"] = float(np.mean(guessed == self._data.labels[self._held_out]))
        return figures

    def _cider(self, name: str) -> float:
        rows = self._rows[name]
        features = self._outputs(rows)["features"]
        start = self._steps.start(features)
        captions = beam_search(start, self._steps.step, self._search, end_id=END_ID)
        reward = self._rewards[name]
        return float(np.mean([reward.score(i, [str(t) for t in best[0].tokens]) for i, best in enumerate(captions)]))

    def _outputs(self, rows: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float32]]:
        parts = []
        for start in range(0, len(rows), BATCH):
            chosen = np.resize(rows[start : start + BATCH], BATCH)  # batches of one size: see `KerasSteps`
            parts.append(self._encoder.predict_on_batch(self._data.pixels[chosen]))
        return {
            name: np.concatenate([np.asarray(p[name], np.float32) for p in parts])[: len(rows)] for name in parts[0]
        }


def _references(tokens: npt.NDArray[np.int32]) -> list[list[str]]:
    return [[str(token) for token in ids if token > END_ID] for ids in tokens if ids.any()]


class KerasSteps:
    """A decoder as the search steps it, on any Keras backend.

    Rows are padded to powers of two: JAX compiles anew for every number of them.

    Args:
        decoder: The decoder.
        candidates: Best words that each step returns.
    """

    def __init__(self, decoder: Decoder, candidates: int = 5) -> None:
        self._decoder = decoder
        self._candidates = candidates

    def start(self, features: npt.NDArray[np.float32]) -> tuple[Any, Any, Any]:
        """Reads features (B, D); see `model.engines.engine.Engine.start`."""
        logits, state = self._decoder.start(_padded(features))
        values, ids = self._best(logits, (PAD_ID, UNKNOWN_ID, END_ID))
        return values[: len(features)], ids[: len(features)], state

    def step(self, tokens: Any, parents: Any, state: Any) -> tuple[Any, Any, Any]:
        """Scores the next words; see `model.engines.engine.Engine.step`."""
        logits, after = self._decoder.step(_padded(tokens), keras.ops.take(state, _padded(parents), axis=0))
        values, ids = self._best(logits, (PAD_ID, UNKNOWN_ID))
        return values[: len(tokens)], ids[: len(tokens)], after

    def _best(self, logits: Any, excluded: tuple[int, ...]) -> tuple[Any, Any]:
        barred = np.isin(np.arange(logits.shape[-1]), excluded)
        log_probs = keras.ops.where(barred, -np.inf, keras.ops.log_softmax(logits))
        values, ids = keras.ops.top_k(log_probs, self._candidates)
        return np.asarray(values), np.asarray(ids, np.int32)


def _padded(values: npt.NDArray[Any]) -> Any:
    """Returns rows (N, …) with rows of zeros up to the next power of two."""
    size = 1 << (len(values) - 1).bit_length()
    return keras.ops.convert_to_tensor(np.pad(values, [(0, size - len(values))] + [(0, 0)] * (values.ndim - 1)))
