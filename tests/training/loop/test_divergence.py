"""What counts as divergence, and what an error advises."""

import math
from pathlib import Path

import keras
import numpy as np
import pytest

from training.loop.divergence import advice, diverged, has_exploded, not_finite


@pytest.mark.parametrize("loss", [1001.0, -1001.0, math.inf, -math.inf, math.nan])
def test_a_loss_beyond_all_bounds_has_exploded(loss: float) -> None:
    assert has_exploded({"loss": loss})


@pytest.mark.parametrize("loss", [0.0, 20.0, -20.0, 1000.0])
def test_a_loss_as_untrained_networks_have_has_not(loss: float) -> None:
    assert not has_exploded({"loss": loss})
    assert not has_exploded({"top1": math.nan})


@pytest.mark.parametrize("wrong", [math.inf, -math.inf, math.nan])
def test_the_first_variable_that_is_not_finite_is_named(wrong: float) -> None:
    variables = {
        "whole": keras.Variable(np.ones((2, 2), np.float32)),
        "number": keras.Variable(np.array([3], np.int64), trainable=False),
    }
    assert not_finite(variables) == {}
    variables["broken"] = keras.Variable(np.array([1.0, wrong], np.float32))
    np.testing.assert_equal(not_finite(variables), {"broken": wrong})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "a lower --learning-rate than 2"),
        ({"clip_norm": 5.0}, "a lower --learning-rate than 2"),
        ({"clip_norm": 0.0}, "a lower --learning-rate than 2 or a --clip-norm such as 5"),
        (
            {"clip_norm": 0.0, "encoder_rate": True, "precision": "mixed_float16"},
            "a lower --learning-rate than 2, a lower --encoder-learning-rate, a --clip-norm such as 5 or "
            "--precision float32",
        ),
        ({"precision": "bfloat16"}, "a lower --learning-rate than 2 or --precision float32"),
    ],
)
def test_the_advice_names_what_would_help(options: dict[str, float], told: str) -> None:
    assert advice(2.0, **{"precision": "float32", **options}) == told  # type: ignore[arg-type]


def test_the_error_has_step_loss_advice_and_checkpoint_in_one_line() -> None:
    error = str(
        diverged(7, {"loss": math.nan, "gradient_norm": 1e20}, "a lower --learning-rate than 2", Path("a/step-6"))
    )
    assert error == (
        "step 7: expected a finite loss of at most 1,000, received loss nan, gradient_norm 1e+20: training has "
        "diverged. Give a lower --learning-rate than 2, with --restart or another --out; the last good checkpoint is "
        "a/step-6: the same command goes on from there"
    )
