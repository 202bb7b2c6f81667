"""Checks that an engine computes the same as the TensorFlow engine; otherwise its times do not count."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.photos import photo
from model.engines.protocol import Engine
from model.image import read_image

STEPS = 4
HYPOTHESES = 3

Array = npt.NDArray[Any]
Record = dict[str, Array]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The allowed distance of an engine from the reference.

    Attributes:
        features: Largest length of the difference of the features, as a fraction of their length.
        probabilities: Largest difference of a class's probability.
        log_probs: Largest difference of a word's log-probability.
    """

    features: float
    probabilities: float
    log_probs: float


FLOAT32 = Tolerance(features=1e-3, probabilities=1e-3, log_probs=5e-3)
INT8 = Tolerance(features=0.15, probabilities=0.1, log_probs=0.75)
"""For the worst case, random weights at full size, which are hard to round; the report says how far each engine is."""


def record(engine: Engine, words: Array | None = None) -> Record:
    """Runs an engine on a photo and on given words, and returns its outputs.

    Args:
        engine: The engine.
        words: Words to feed at each step, shape (STEPS, HYPOTHESES), so that two engines can be compared; None for the
            best ones that the engine itself names.

    Returns:
        `features` (D,), `probabilities` (C,), `log_probs` and `ids` (1 + STEPS * HYPOTHESES, M), and the `words`.
    """
    encoded = engine.encode(read_image(photo(0)).pixels[None])
    log_probs, ids, state = engine.start(encoded.features)
    seen = [(log_probs, ids)]
    fed = []
    parents = np.zeros(HYPOTHESES, np.int32)
    for step in range(STEPS):
        tokens = (ids[0, :HYPOTHESES] if words is None else words[step]).astype(np.int32)
        log_probs, ids, state = engine.step(tokens, parents, state)
        seen.append((log_probs, ids))
        fed.append(tokens)
        parents = np.asarray((2, 0, 1), np.int32)  # no row stays where it was
    return {
        "features": np.asarray(encoded.features, np.float32)[0],
        "probabilities": np.asarray(encoded.class_probabilities)[0],
        "log_probs": np.concatenate([part for part, _ in seen]),
        "ids": np.concatenate([part for _, part in seen]),
        "words": np.stack(fed),
    }


def read_record(path: Path) -> Record:
    """Reads what `numpy.savez` wrote of a record."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def check(engine: Engine, expected: Record, tolerance: Tolerance) -> dict[str, float]:
    """Checks an engine against the record of another one.

    Args:
        engine: The engine.
        expected: Record of the reference.
        tolerance: How far they may be apart.

    Returns:
        The largest differences found, by the names of `Tolerance`.

    Raises:
        ValueError: It computes something else.
    """
    found = record(engine, expected["words"])
    length = float(np.linalg.norm(expected["features"]))
    differences = {
        "features": float(np.linalg.norm(found["features"] - expected["features"])) / max(length, 1e-6),
        "probabilities": float(np.abs(found["probabilities"] - expected["probabilities"]).max()),
        "log_probs": float(np.abs(found["log_probs"] - expected["log_probs"]).max()),
    }
    for name, difference in differences.items():
        allowed = getattr(tolerance, name)
        if not difference <= allowed:  # also where it is NaN
            raise ValueError(
                f"{engine.name}: expected {name} within {allowed} of the TensorFlow engine's, found a difference of "
                f"{difference:.4g}; mend the engine before comparing its speed"
            )
    _check_words(engine.name, found, expected, tolerance.log_probs)
    return differences


def _check_words(name: str, found: Record, expected: Record, allowed: float) -> None:
    """Checks that words far enough from the last place are the same ones, with the same probabilities."""
    for row, (ids, log_probs) in enumerate(zip(expected["ids"], expected["log_probs"], strict=True)):
        theirs = dict(zip(found["ids"][row].tolist(), found["log_probs"][row].tolist(), strict=True))
        for word, log_prob in zip(ids.tolist(), log_probs.tolist(), strict=True):
            must_be_there = log_prob - log_probs[-1] > 2 * allowed
            if abs(theirs.get(word, np.inf if must_be_there else log_prob) - log_prob) > allowed:
                raise ValueError(
                    f"{name}: expected word {word} with log-probability {log_prob:.3f} in row {row}, found "
                    f"{theirs.get(word)}; mend the engine before comparing its speed"
                )
