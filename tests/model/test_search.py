"""Greedy and beam search, read off small tables of word probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import SearchConfig
from model.search import beam_search
from tests.model.speakers import END, TABLE, Said, Speaker, by_chance, by_table, every_caption, search, texts


def test_a_wide_beam_finds_what_greedy_search_misses() -> None:
    assert texts(search(by_table(TABLE), beam=1)[0]) == ["a dog"]
    (found,) = search(by_table(TABLE), beam=3)
    assert texts(found)[0] == "dog"
    np.testing.assert_allclose(found[0].log_prob, np.log(0.4 * 0.9), rtol=1e-5)


@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(1, 6))
def test_a_beam_of_one_is_greedy(seed: int, size: int, max_words: int) -> None:
    after = by_chance(seed, size)
    said: Said = ()
    while len(said) < max_words and END not in said:
        said = (*said, int(after(said).argmax()))
    ((found,),) = search(after, beam=1, words=max_words)
    assert found.tokens == tuple(token for token in said if token != END)
    assert found.log_prob == pytest.approx(sum(float(after(said[:i])[t]) for i, t in enumerate(said)), rel=1e-5)


@given(
    st.integers(0, 10**6),
    st.sampled_from([(2, 1), (2, 4), (2, 8), (3, 2), (3, 3), (4, 2), (9, 2), (10, 1)]),
    st.sampled_from([0.0, 0.7, 1.0, 2.0]),
)
def test_a_beam_that_holds_all_sentences_is_brute_force(seed: int, sizes: tuple[int, int], penalty: float) -> None:
    size, max_words = sizes
    after = by_chance(seed, size)
    expected = every_caption(after, size, max_words, penalty)[:10]
    (found,) = search(after, beam=10, words=max_words, penalty=penalty)
    assert [caption.tokens for caption in found] == [tokens for tokens, _, _ in expected]
    np.testing.assert_allclose([c.log_prob for c in found], [log_prob for _, log_prob, _ in expected], rtol=1e-5)
    np.testing.assert_allclose([c.score for c in found], [score for _, _, score in expected], rtol=1e-5)


@given(st.integers(0, 10**6), st.integers(2, 8), st.integers(1, 7), st.integers(1, 10), st.floats(0, 2))
def test_captions_are_distinct_ranked_and_scored_by_their_own_words(
    seed: int, size: int, max_words: int, beam: int, penalty: float
) -> None:
    after = by_chance(seed, size)
    (found,) = search(after, beam=beam, words=max_words, penalty=penalty)
    assert 1 <= len(found) <= beam
    assert len({caption.tokens for caption in found}) == len(found)
    assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)
    for caption in found:
        tokens = (*caption.tokens, END) if len(caption.tokens) < max_words else caption.tokens
        logs = [float(after(tokens[:index])[token]) for index, token in enumerate(tokens)]
        assert END not in caption.tokens
        assert caption.word_log_probs == pytest.approx(logs[: len(caption.tokens)])
        assert caption.log_prob == pytest.approx(sum(logs), rel=1e-5)
        assert caption.score == pytest.approx(sum(logs) / len(tokens) ** penalty, rel=1e-5)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4), st.integers(1, 4), st.sampled_from([0.0, 1.0]))
def test_a_batch_of_images_gives_what_each_gives_alone(seeds: list[int], beam: int, penalty: float) -> None:
    speakers = [by_chance(seed, 5) for seed in seeds]
    together = search(*speakers, beam=beam, penalty=penalty)
    assert together == [search(speaker, beam=beam, penalty=penalty)[0] for speaker in speakers]


def test_a_finished_caption_keeps_its_score_while_others_go_on() -> None:
    after = by_table({"": {"<end>": 0.3, "a": 0.7}, "a": {"<end>": 0.1, "a": 0.9}})
    for max_words in (2, 3, 6, 20):
        (found,) = search(after, beam=2, words=max_words)
        ended = next(caption for caption in found if caption.tokens == ())
        assert ended.word_log_probs == ()
        assert ended.log_prob == pytest.approx(np.log(0.3))


def test_captions_that_never_end_have_the_most_words() -> None:
    after = by_table({"": {"a": 0.6, "red": 0.4}, "a": {"a": 0.5, "red": 0.5}, "red": {"a": 0.9, "red": 0.1}})
    (found,) = search(after, beam=3, words=5)
    assert [len(caption.tokens) for caption in found] == [5, 5, 5]
    assert all(len(caption.word_log_probs) == 5 for caption in found)


def test_the_search_stops_when_every_caption_has_ended() -> None:
    speaker = Speaker([by_table({"": {"dog": 1.0}, "dog": {"<end>": 1.0}})], 6)
    (found,) = beam_search(speaker.start(), speaker, SearchConfig(beam_size=3, max_words=100), end_id=END)
    assert texts(found) == ["dog"]
    assert speaker.calls == 1


def test_impossible_words_are_never_said_and_fewer_captions_come() -> None:
    (found,) = search(by_table({"": {"a": 0.5, "cat": 0.5}, "a": {"<end>": 1}, "cat": {"<end>": 1}}), beam=10)
    assert sorted(texts(found)) == ["a", "cat"]
    assert all(np.isfinite(caption.log_prob) for caption in found)


@pytest.mark.parametrize(("penalty", "best"), [(0.0, "dog"), (0.5, "dog"), (2.0, "a red cat runs")])
def test_a_length_penalty_favours_longer_captions(penalty: float, best: str) -> None:
    assert texts(search(by_table(TABLE), beam=10, penalty=penalty)[0])[0] == best


def test_fewer_candidates_than_places_in_the_beam_are_enough() -> None:
    (found,) = search(by_table(TABLE), beam=10, width=2)
    assert texts(found)[0] == "dog"
    assert len(found) > 2


def test_an_image_that_is_no_longer_wanted_has_no_captions_and_the_others_have_all_of_theirs() -> None:
    speakers = [by_chance(seed, 6) for seed in (1, 2, 3)]
    asked: list[None] = []

    def wanted() -> list[bool]:
        asked.append(None)
        return [True, len(asked) < 3, True]

    found = search(*speakers, words=6, wanted=wanted)
    assert found[1] == []
    assert [found[0], found[2]] == [search(speakers[0])[0], search(speakers[2])[0]]


def test_a_search_that_nobody_wants_takes_no_step() -> None:
    speaker = Speaker([by_chance(1, 6)] * 2, 6)
    config = SearchConfig(max_words=100)
    assert beam_search(speaker.start(), speaker, config, end_id=END, wanted=lambda: [False, False]) == [[], []]
    assert speaker.calls == 0


def test_the_search_stops_when_nothing_unfinished_can_win() -> None:
    # "dog" and "cat" end at once and surely; what is left has 0.1 and can only get worse.
    table = {"": {"dog": 0.5, "cat": 0.4, "a": 0.1}, "dog": {"<end>": 1.0}, "cat": {"<end>": 1.0}, "a": {"a": 1.0}}
    speaker = Speaker([by_table(table)], 6)
    (found,) = beam_search(speaker.start(), speaker, SearchConfig(beam_size=2, max_words=100), end_id=END)
    assert (texts(found), speaker.calls) == (["dog", "cat"], 1)
    speaker = Speaker([by_table(table)], 6)
    (found,) = beam_search(speaker.start(), speaker, SearchConfig(beam_size=3, max_words=9), end_id=END)
    assert texts(found) == ["dog", "cat", "a a a a a a a a a"]
    assert speaker.rows == [3, 1, 1, 1, 1, 1, 1, 1]


def test_a_finished_caption_that_loses_its_place_is_not_lost() -> None:
    table = {
        "": {"a": 0.6, "dog": 0.4},
        "a": {"cat": 0.95, "red": 0.05},
        "dog": {"<end>": 0.66, "runs": 0.34},
        "cat": {"runs": 0.5, "red": 0.5},
        "runs": {"<end>": 0.1, "a": 0.9},
        "red": {"<end>": 0.1, "a": 0.9},
    }
    # "dog" (0.264) has ended when "a cat runs" and "a cat red" (0.285 each) take both places; neither ends as well.
    (found,) = search(by_table(table), beam=2, words=4)
    assert texts(found)[0] == "dog"
    assert found[0].log_prob == pytest.approx(np.log(0.264), rel=1e-5)
