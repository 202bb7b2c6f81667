"""Divergence: losses and weights that mean nothing any more, recognised before they are kept."""

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from model.errors import DataError

LARGEST_LOSS = 1000.0
"""Loss beyond which a run has diverged. Losses are nats for each word or image, or errors over a variance: those of
untrained networks are 1 to 20."""

LARGEST_DEV_LOSS = 1e6
"""The same of dev, where batch norm's statistics are behind at first."""


def has_exploded(figures: Mapping[str, float], largest: float = LARGEST_LOSS) -> bool:
    """Returns whether the figure `loss`, if it is there, is not finite or beyond all from which training comes back."""
    return not abs(figures.get("loss", 0.0)) <= largest  # NaN is not


def not_finite(variables: Mapping[str, keras.Variable]) -> dict[str, float]:
    """Returns the first variable, by name, that has a number that is not finite, with such a number; else nothing."""
    for name, variable in variables.items():
        values = keras.ops.convert_to_numpy(variable)
        wrong = values[~np.isfinite(values)]
        if wrong.size:
            return {name: float(wrong[0])}
    return {}


def advice(learning_rate: float, precision: str, *, clip_norm: float | None = None, encoder_rate: bool = False) -> str:
    """Returns which options to change against divergence.

    Args:
        learning_rate: Highest learning rate of the run.
        precision: Arithmetic of its layers.
        clip_norm: Largest norm of a gradient; 0 if there is no limit, None if there is no such option.
        encoder_rate: Whether the encoder learns at its own rate.
    """
    options = [f"a lower --learning-rate than {learning_rate:g}"]
    options += ["a lower --encoder-learning-rate"] if encoder_rate else []
    options += ["a --clip-norm such as 5"] if clip_norm == 0 else []
    options += ["--precision float32"] if "16" in precision else []
    return " or ".join([", ".join(options[:-1]), options[-1]] if len(options) > 1 else options)


def diverged(step: int, found: Mapping[str, float], options: str, last: Path | None) -> DataError:
    """Builds the error that ends a run which has diverged.

    Args:
        step: Number of the step, counted from 0.
        found: What was found, by name.
        options: From `advice`.
        last: The last good checkpoint, if there is one.
    """
    again = "there is no good checkpoint: the same command begins anew"
    if last is not None:
        again = f"the last good checkpoint is {last}: the same command goes on from there"
    return DataError(f"{divergence_told(step, found, options)}, with --restart or another --out; {again}")


def divergence_told(step: int, found: Mapping[str, float], options: str) -> str:
    """Returns what is so after a step that has diverged, and what to change; the arguments are those of `diverged`."""
    told = ", ".join(f"{name} {value:.3g}" for name, value in found.items())
    return (
        f"step {step}: expected a finite loss of at most {LARGEST_LOSS:,.0f}, received {told}: training has diverged. "
        f"Give {options}"
    )
