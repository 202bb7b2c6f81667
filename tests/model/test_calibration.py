"""Calibrated probabilities: monotone, harmless at temperature 1, and without a say in which caption wins."""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.bundle import Bundle
from model.calibration import calibrated
from model.captioner import Captioner
from model.config import CONFIDENCE_TEMPERATURES

Images = npt.NDArray[np.uint8]

LOGS = st.floats(-200, 0)
TEMPERATURES = st.floats(*CONFIDENCE_TEMPERATURES)


@given(LOGS, TEMPERATURES)
def test_a_calibrated_probability_is_one(log_prob: float, temperature: float) -> None:
    assert calibrated(log_prob, temperature) <= 0


@given(LOGS)
def test_temperature_1_changes_nothing(log_prob: float) -> None:
    assert calibrated(log_prob, 1.0) == log_prob


@given(LOGS, LOGS, TEMPERATURES)
def test_the_more_probable_stays_the_more_probable(one: float, other: float, temperature: float) -> None:
    low, high = sorted((one, other))
    assert calibrated(low, temperature) <= calibrated(high, temperature) + 1e-12


@pytest.mark.parametrize(("probability", "temperature", "expected"), [(0.9, 2, 0.75), (0.1, 2, 0.25), (0.5, 7, 0.5)])
def test_the_log_odds_are_divided(probability: float, temperature: float, expected: float) -> None:
    assert math.exp(calibrated(math.log(probability), temperature)) == pytest.approx(expected)


def test_what_is_certain_or_impossible_stays_so() -> None:
    assert [calibrated(value, 3.0) for value in (0.0, 1e-8, -math.inf)] == [0.0, 0.0, -math.inf]


@pytest.mark.parametrize("temperature", [0.5, 3.0])
@pytest.mark.parametrize("max_words", [2, 6])
def test_the_same_captions_win_with_other_probabilities(
    toy: Bundle, images: Images, temperature: float, max_words: int
) -> None:
    config = replace(toy.config, search=replace(toy.config.search, max_words=max_words, length_penalty=0.8))
    plain = Captioner.of(replace(toy, config=config))
    warm = Captioner.of(replace(toy, config=replace(config, confidence_temperature=temperature)))
    for one, other in zip(plain.predict(images, captions=3), warm.predict(images, captions=3), strict=True):
        assert [caption.text for caption in one.captions] == [caption.text for caption in other.captions]
        for before, after in zip(one.captions, other.captions, strict=True):
            words = [calibrated(math.log(word.probability), temperature) for word in before.words]
            assert [math.log(word.probability) for word in after.words] == pytest.approx(words)
            end = before.log_probability - sum(math.log(word.probability) for word in before.words)
            if len(words) < max_words:
                words.append(calibrated(min(end, 0.0), temperature))
            assert after.log_probability == pytest.approx(sum(words), abs=1e-4)
            assert after.log_probability <= 0
