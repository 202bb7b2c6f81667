"""Words that are not allowed, groups that avoid each other, and draws: read off small tables of word probabilities."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.search import Floats
from model.vocabulary import SPECIAL
from tests.model.speakers import END, TABLE, Distribution, Said, by_chance, by_table, every_caption, search, texts

COLUMNS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["dog", "a dog", "a cat"]),
    ({"min_words": 1}, ["dog", "a dog", "a cat"]),
    ({"min_words": 2}, ["a dog", "a cat", "a cat runs"]),
    ({"min_words": 3}, ["a cat runs", "a red dog", "a red cat"]),
    ({"min_words": 4}, ["a cat runs", "a red cat runs", "a red dog runs"]),  # nothing but the end follows "runs"
    ({"words": 2}, ["dog", "a dog", "a cat"]),
    ({"words": 1}, ["a", "dog"]),
    ({"beam": 1}, ["a dog"]),
    ({"beam": 1, "groups": 2, "diversity": 0.3}, ["a dog", "a cat"]),  # "dog" loses by 0.4 / 0.6, "a cat" wins
    ({"beam": 1, "groups": 2, "diversity": 1.0}, ["dog", "a dog"]),
    ({"beam": 1, "groups": 3, "diversity": 1.0}, ["dog", "a dog", "a cat"]),
    ({"beam": 1, "groups": 3, "diversity": 0.0}, ["a dog"]),
    ({"beam": 1, "groups": 3, "temperature": 0.01}, ["a dog"]),
    ({"beam": 1, "groups": 2, "temperature": 1.0, "seed": 2}, ["dog", "a red cat"]),
]
"""Options, and the captions that a speaker of `TABLE` says with them."""

PLAIN: dict[str, Any] = {"min_words": 0, "no_repeat_ngram": 0, "repeatable_words": 0, "groups": 1}
SOME: list[dict[str, Any]] = [
    {"min_words": 3},
    {"no_repeat_ngram": 1},
    {"repeatable_words": 2},
    {"min_words": 3, "no_repeat_ngram": 1},
    {"groups": 3, "diversity": 0.5},
    {"groups": 3, "diversity": 0.5, "min_words": 2, "no_repeat_ngram": 2, "penalty": 0.7},
    {"beam": 1, "groups": 4, "temperature": 1.0, "seed": 5},
    {"beam": 1, "groups": 4, "temperature": 2.0, "seed": 5, "min_words": 2, "penalty": 1.0},
]


@pytest.mark.parametrize(("options", "captions"), COLUMNS)
def test_each_option_says_what_can_be_read_off_the_table(options: dict[str, Any], captions: list[str]) -> None:
    assert texts(search(by_table(TABLE), **options)[0]) == captions


@given(st.integers(0, 10**6), st.integers(1, 10))
def test_options_that_are_off_change_nothing(seed: int, beam: int) -> None:
    after = by_chance(seed, 6)
    assert search(after, beam=beam, **PLAIN) == search(after, beam=beam)


@pytest.mark.parametrize("options", SOME)
def test_a_batch_of_images_gives_what_each_gives_alone_whatever_the_options(options: dict[str, Any]) -> None:
    speakers = [by_chance(seed, 7) for seed in (1, 2, 3)]
    assert search(*speakers, **options) == [search(speaker, **options)[0] for speaker in speakers]


@pytest.mark.parametrize("options", SOME)
def test_captions_are_distinct_and_scored_by_their_own_words_whatever_the_options(options: dict[str, Any]) -> None:
    for seed in range(5):
        after = by_chance(seed, 7)
        (found,) = search(after, **options)
        assert len({caption.tokens for caption in found}) == len(found)
        assert 1 <= len(found) <= options.get("beam", 3) * options.get("groups", 1)
        for caption in found:
            tokens = (*caption.tokens, END) if len(caption.tokens) < 6 else caption.tokens
            logs = [float(after(tokens[:index])[token]) for index, token in enumerate(tokens)]
            assert caption.log_prob == pytest.approx(sum(logs), rel=1e-5)
            assert caption.score == pytest.approx(sum(logs) / len(tokens) ** options.get("penalty", 0.0), rel=1e-5)


@given(
    st.integers(0, 10**6),
    st.sampled_from([(2, 4), (2, 7), (3, 2), (3, 3)]),
    st.integers(0, 4),
    st.sampled_from([0.0, 1]),
)
def test_the_best_captions_that_are_long_enough_are_found(
    seed: int, sizes: tuple[int, int], least: int, penalty: float
) -> None:
    size, max_words = sizes
    after = by_chance(seed, size)
    least = min(least, max_words)
    every = [words for words, _, _ in every_caption(after, size, max_words, penalty) if len(words) >= least]
    (found,) = search(after, beam=10, words=max_words, penalty=penalty, min_words=least)
    assert all(len(caption.tokens) >= least for caption in found)
    if len(every) <= 10:  # so that no hypothesis loses its place
        assert [caption.tokens for caption in found] == every


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(2, 3), st.floats(0, 3))
def test_the_first_group_searches_as_if_it_were_alone(seed: int, beam: int, groups: int, diversity: float) -> None:
    after = by_chance(seed, 6)
    (alone,) = search(after, beam=beam)
    (found,) = search(after, beam=beam, groups=groups, diversity=diversity)
    assert {caption.tokens for caption in alone} <= {caption.tokens for caption in found}
    assert alone[0].tokens in [caption.tokens for caption in found[:groups]]


def test_the_best_of_each_group_comes_first() -> None:
    # The first group says what begins with "a", the second what begins with "dog": no caption is found twice.
    table = {"": {"a": 0.5, "dog": 0.5}, "a": {"<end>": 0.9, "cat": 0.1}, "dog": {"<end>": 0.6, "runs": 0.4}}
    after = by_table(table | {"cat": {"<end>": 1.0}, "runs": {"<end>": 1.0}})
    (found,) = search(after, beam=1, groups=2, diversity=9.0)
    assert texts(found) == ["a", "dog"]
    (found,) = search(after, beam=2, groups=2, diversity=0.0)
    assert texts(found) == ["a", "dog"]
    scores = [[caption.score for caption in search(by_chance(seed, 8), beam=2, groups=3, diversity=2.0)[0]]
              for seed in range(20)]  # fmt: skip
    assert all(each[0] == max(each) for each in scores)
    assert any(each != sorted(each, reverse=True) for each in scores)


def test_more_diversity_gives_captions_with_fewer_words_in_common() -> None:
    def shared(diversity: float) -> int:
        found = [search(by_chance(seed, 9), beam=1, groups=2, diversity=diversity)[0] for seed in range(20)]
        pairs = [[caption.tokens for caption in captions] for captions in found]
        return sum(pair[0][place] == pair[-1][place] for pair in pairs for place in range(min(map(len, pair))))

    assert shared(0.0) > shared(0.5) > shared(3.0)


def test_words_are_drawn_as_often_as_they_are_probable() -> None:
    after = by_table(TABLE)
    drawn = [texts(search(after, beam=1, temperature=1.0, seed=seed)[0])[0] for seed in range(400)]
    for caption, probability in (("dog", 0.36), ("a dog", 0.216), ("a cat", 0.105)):
        assert drawn.count(caption) / len(drawn) == pytest.approx(probability, abs=0.07)
    cold, hot = (
        [texts(search(after, beam=1, temperature=temperature, seed=seed)[0])[0] for seed in range(400)]
        for temperature in (0.2, 10.0)
    )
    assert cold.count("a dog") > drawn.count("a dog") > hot.count("a dog")  # what greedy search says


def test_draws_of_one_seed_differ_from_each_other_and_not_from_one_time_to_the_next() -> None:
    options: dict[str, Any] = {"beam": 1, "groups": 5, "temperature": 1.0}
    first, again, other = (search(by_chance(1, 9), **options, seed=seed) for seed in (7, 7, 8))
    assert first == again != other
    assert len(first[0]) == 5
    assert search(by_chance(1, 9), beam=1, temperature=1.0, seed=7)[0][0] in first[0]


def test_an_engine_that_computes_a_little_differently_draws_the_same() -> None:
    def rounded(said: Said) -> Distribution:
        exact: Floats = by_chance(3, 9)(said)
        return (exact + np.random.default_rng([9, *said]).normal(0, 0.003, exact.shape)).astype(np.float32)

    def drawn(after: Any, seed: int) -> list[Said]:
        return [caption.tokens for caption in search(after, beam=1, temperature=1.0, seed=seed)[0]]

    same = [drawn(by_chance(3, 9), seed) == drawn(rounded, seed) for seed in range(100)]
    assert same.count(True) >= 95


def repeats(words: Said, length: int) -> bool:
    grams = [words[start : start + length] for start in range(len(words) - length + 1)]
    return len(set(grams)) < len(grams)


@given(
    st.integers(0, 10**6),
    st.sampled_from([(2, 4), (2, 7), (3, 3), (3, 4), (4, 3)]),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([0.0, 1.0]),
)
def test_the_best_captions_without_repeats_are_found(
    seed: int, sizes: tuple[int, int], length: int, penalty: float
) -> None:
    size, max_words = sizes
    after = by_chance(seed, size)
    every = [words for words, _, _ in every_caption(after, size, max_words, penalty) if not repeats(words, length)]
    (found,) = search(after, beam=10, words=max_words, penalty=penalty, no_repeat_ngram=length)
    assert not any(repeats(caption.tokens, length) for caption in found)
    if len(every) <= 10:  # so that no hypothesis loses its place
        assert [caption.tokens for caption in found] == every


def test_rare_words_are_said_once_and_frequent_ones_again() -> None:
    """Ids go by falling frequency, behind the special ones."""
    said_again: set[int] = set()
    for seed in range(40):
        after = by_chance(seed, 8)
        (plain,) = search(after, words=6)
        (found,) = search(after, words=6, repeatable_words=2)
        assert found
        again = {word for caption in found for word in caption.tokens if caption.tokens.count(word) > 1}
        assert max(again, default=0) < len(SPECIAL) + 2
        said_again |= again
        rare = [[word for word in caption.tokens if word >= len(SPECIAL) + 2] for caption in plain]
        if all(len(set(words)) == len(words) for words in rare):
            assert search(after, words=6, repeatable_words=8) == [plain]
    assert len(SPECIAL) + 1 in said_again


def test_what_must_not_be_repeated_is_repeated_where_nothing_else_is_left() -> None:
    after = by_table({"": {"a": 1}, "a": {"a": 0.8, "red": 0.2}, "red": {"red": 1}})
    assert texts(search(after, words=4, beam=1)[0]) == ["a a a a"]
    assert texts(search(after, words=4, beam=1, no_repeat_ngram=1)[0]) == ["a red red red"]
    assert texts(search(after, words=4, beam=1, no_repeat_ngram=2)[0]) == ["a a red red"]
