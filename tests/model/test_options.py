"""The options of a search: what follows from them, and what is refused."""

from typing import Any

import pytest

from model.config import SearchConfig
from model.errors import SearchOptionError
from model.options import DIVERSITY, OPTIONS, Search, SearchOptions

OWN = SearchConfig(beam_size=3, max_words=20, length_penalty=0.5, no_repeat_ngram=2)


@pytest.mark.parametrize(
    ("options", "captions", "expected"),
    [
        ({}, 1, {}),
        ({"beam_size": 5}, 5, {"beam_size": 5}),
        ({"min_words": 20}, 1, {"min_words": 20}),
        ({"max_words": 4, "min_words": 4}, 1, {"min_words": 4, "max_words": 4}),
        ({"no_repeat_ngram": 0}, 1, {"no_repeat_ngram": 0}),
        ({"diverse_groups": 1}, 1, {}),
        ({"diverse_groups": 2}, 6, {"groups": 2, "diversity": DIVERSITY}),
        ({"diverse_groups": 5}, 10, {"groups": 5, "beam_size": 2, "diversity": DIVERSITY}),
        ({"diverse_groups": 3, "beam_size": 2, "diversity": 0.0}, 1, {"groups": 3, "beam_size": 2}),
        ({"sample": False}, 3, {}),
        ({"sample": True, "seed": 7}, 4, {"beam_size": 1, "groups": 4, "temperature": 1.0, "seed": 7}),
        ({"sample": True, "seed": 0, "temperature": 0.5}, 1, {"beam_size": 1, "temperature": 0.5}),
    ],
)
def test_options_replace_the_defaults_of_the_bundle(
    options: dict[str, Any], captions: int, expected: dict[str, Any]
) -> None:
    own: dict[str, Any] = {"beam_size": 3, "max_words": 20, "length_penalty": 0.5, "no_repeat_ngram": 2}
    assert SearchOptions(**options).search(OWN, captions) == Search(**(own | expected))


@pytest.mark.parametrize(
    ("options", "captions", "message"),
    [
        ({}, 4, "captions: expected 1 to 3, received 4"),
        ({"sample": True}, 11, "captions: expected 1 to 10, received 11"),
        ({"beam_size": 0}, 1, "beam_size: expected a whole number from 1 to 10, received 0"),
        ({"beam_size": 6, "diverse_groups": 2}, 1, "beam_size: expected at most 5 with 2 diverse_groups, received 6"),
        ({"min_words": 21}, 1, "min_words: expected at most 20, the most words, received 21"),
        ({"min_words": 5, "max_words": 4}, 1, "min_words: expected at most 4, the most words, received 5"),
        ({"max_words": 21}, 1, "max_words: expected at most 20, the model's own, received 21"),
        ({"max_words": 0}, 1, "max_words: expected a whole number from 1 to 100, received 0"),
        ({"no_repeat_ngram": -1}, 1, "no_repeat_ngram: expected a whole number from 0 to 100, received -1"),
        ({"diverse_groups": 11}, 1, "diverse_groups: expected a whole number from 1 to 10, received 11"),
        ({"diversity": 0.5}, 1, "diversity: expected diverse_groups of 2 or more with it, received 0.5"),
        ({"diversity": 10.5, "diverse_groups": 2}, 1, "diversity: expected a number from 0 to 10, received 10.5"),
        ({"diversity": float("nan"), "diverse_groups": 2}, 1, "diversity: expected a number from 0 to 10"),
        ({"temperature": 1.0}, 1, "temperature: expected sample with it; without sample nothing is drawn"),
        ({"seed": 0}, 1, "seed: expected sample with it; without sample nothing is drawn, received 0"),
        ({"temperature": 0.0, "sample": True}, 1, "temperature: expected a number from 0.01 to 10, received 0.0"),
        ({"seed": 2**32, "sample": True}, 1, "seed: expected a whole number from 0 to 4294967295"),
        ({"beam_size": 3, "sample": True}, 1, "beam_size: expected none with sample"),
        ({"diverse_groups": 2, "sample": True}, 1, "diverse_groups: expected none with sample"),
    ],
)
def test_what_does_not_fit_is_named_with_what_was_expected(
    options: dict[str, Any], captions: int, message: str
) -> None:
    with pytest.raises(SearchOptionError) as refused:
        SearchOptions(**options).search(OWN, captions)
    assert str(refused.value).startswith(message)


def test_without_a_seed_every_search_draws_otherwise() -> None:
    assert len({SearchOptions(sample=True).search(OWN).seed for _ in range(5)}) == 5


@pytest.mark.parametrize("groups", range(1, 11))
def test_no_search_is_wider_than_the_widest_beam(groups: int) -> None:
    for beam_size in (None, *range(1, 11)):
        asked = SearchOptions(beam_size=beam_size, diverse_groups=groups)
        if beam_size is None or beam_size * groups <= 10:
            assert asked.search(OWN).hypotheses == asked.most_captions(OWN) <= 10
        else:
            with pytest.raises(SearchOptionError):
                asked.search(OWN)


def test_every_option_is_off_by_default_and_says_what_it_is() -> None:
    assert SearchOptions().search(SearchConfig()) == Search()
    assert all(option.about.endswith(".") and option.low <= option.high for option in OPTIONS.values())
