"""The memory of answers: which are kept, how much they count, and where each belongs."""

import dataclasses
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.captioner import Caption, ClassPrediction, Prediction, Word
from model.options import Search
from server.caching import AnswerCache, RecentValues, size_of
from server.jobs import PredictOptions
from server.metrics import ServerMetrics
from server.service import Answered

OPTIONS = PredictOptions(search=Search(), captions=3, classes=5)


class Recency:
    """The values of `RecentValues` in a list that is searched from end to end, the latest used last."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.pairs: list[tuple[bytes, bytes]] = []

    def put(self, key: bytes, value: bytes) -> None:
        self.pairs = [pair for pair in self.pairs if pair[0] != key]
        if size_of(key, value) > self.limit:
            return
        self.pairs.append((key, value))
        while sum(size_of(*pair) for pair in self.pairs) > self.limit:
            self.pairs = self.pairs[1:]

    def get(self, key: bytes) -> bytes | None:
        found = [pair for pair in self.pairs if pair[0] == key]
        self.pairs = [pair for pair in self.pairs if pair[0] != key] + found
        return found[0][1] if found else None


@given(
    limit=st.integers(0, 2000),
    uses=st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.none() | st.binary(max_size=900))),
)
def test_what_was_used_last_is_kept_and_never_more_than_fits(
    limit: int, uses: list[tuple[bytes, bytes | None]]
) -> None:
    values = RecentValues(limit)
    recency = Recency(limit)
    for key, value in uses:
        if value is None:
            assert values.get(key) == recency.get(key)
        else:
            values.put(key, value)
            recency.put(key, value)
        assert values.size_bytes == sum(size_of(*pair) for pair in recency.pairs) <= limit
        assert len(values) == len(recency.pairs)


def test_what_is_larger_than_the_limit_pushes_nothing_out() -> None:
    values = RecentValues(1000)
    values.put(b"small", b"kept")
    values.put(b"large", bytes(1000))
    assert values.get(b"small") == b"kept"
    assert values.get(b"large") is None


@pytest.mark.parametrize("limit", [200_000, 1024**2, 2 * 1024**2])
@pytest.mark.parametrize("value_bytes", [10, 300, 1000])
def test_as_much_memory_is_taken_as_is_counted_or_less(limit: int, value_bytes: int) -> None:
    values = RecentValues(limit)
    tracemalloc.start()
    try:
        for number in range(2 * limit // value_bytes):
            values.put(number.to_bytes(32), bytes(value_bytes))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert values.size_bytes > 0.98 * limit, "it was filled"
    assert 0.5 * limit < taken < limit


def answered(text: str = "a dog", probability: float = 0.5) -> Answered:
    caption = Caption(text, -probability, (Word(text, probability),), -probability)
    return Answered(90, 60, Prediction((caption,), (ClassPrediction("n1", text, probability),), 0.0, 0.0), 0.0, 0.0)


@pytest.fixture
def cache() -> AnswerCache[Answered]:
    return AnswerCache(Answered, 1024**2, ServerMetrics())


@given(text=st.text(), probability=st.floats(0, 1))
def test_an_answer_is_given_again_as_it_was(text: str, probability: float) -> None:
    cache = AnswerCache(Answered, 1024**2, ServerMetrics())
    place = cache.place(b"photo", OPTIONS, None, 1)
    assert place is not None
    cache.put(place, answered(text, probability))
    assert cache.get(place) == answered(text, probability)


def changed(value: float | None) -> Any:
    return 7.5 if value is None else value + 1


def test_whatever_is_asked_otherwise_has_a_place_of_its_own(cache: AnswerCache[Answered]) -> None:
    """Every field counts, also those that are yet to come."""
    wishes = [OPTIONS]
    for item in dataclasses.fields(Search):
        value = changed(getattr(OPTIONS.search, item.name))
        wishes.append(replace(OPTIONS, search=replace(OPTIONS.search, **{item.name: value})))
    wishes += [replace(OPTIONS, captions=4), replace(OPTIONS, classes=6)]
    asked = [(b"photo", wish, caller) for wish in wishes for caller in (None, 0, 1)] + [(b"photo2", OPTIONS, None)]
    places = {cache.place(*question, 1) for question in asked}
    assert None not in places
    assert len(places) == len(asked)


def test_of_an_earlier_captioner_nothing_is_found_and_nothing_kept(cache: AnswerCache[Answered]) -> None:
    old = cache.place(b"photo", OPTIONS, None, 1)
    new = cache.place(b"photo", OPTIONS, None, 2)
    assert old is not None
    assert new is not None
    cache.put(old, answered("old"))
    assert cache.get(new) is None
    cache.put(old, answered("old, and late"))
    assert (cache.get(new), cache.get(old)) == (None, None)
    cache.put(new, answered("new"))
    assert (cache.get(new), cache.get(old)) == (answered("new"), None)
