"""Speakers: step functions read off small tables of word probabilities, for tests of the search."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from model.options import Search
from model.search import Floats, FoundCaption, Ints, Wanted, beam_search

END = 0
WORDS = ("<end>", "a", "dog", "cat", "runs", "red")

Said = tuple[int, ...]
Distribution = npt.NDArray[np.float32]
NextWord = Callable[[Said], Distribution]

TABLE = {
    "": {"a": 0.6, "dog": 0.4},
    "a": {"dog": 0.4, "cat": 0.35, "red": 0.25},
    "dog": {"<end>": 0.9, "runs": 0.1},
    "cat": {"<end>": 0.5, "runs": 0.5},
    "runs": {"<end>": 1.0},
    "red": {"dog": 0.5, "cat": 0.5},
}
"""Probability of the next word after the last one. Greedy says "a dog" (0.216), but "dog" alone has 0.36."""


class Speaker:
    """A step function whose state is everything that was said, so that a wrongly gathered state is noticed.

    Args:
        speakers: For each image the log-probabilities of the next word after the words said, shape (V,).
        width: Candidates returned per hypothesis, M.
    """

    def __init__(self, speakers: Sequence[NextWord], width: int) -> None:
        self.speakers = speakers
        self.width = width
        self.calls = 0
        self.rows: list[int] = []

    def start(self) -> tuple[Floats, Ints, list[tuple[int, Said]]]:
        state: list[tuple[int, Said]] = [(image, ()) for image in range(len(self.speakers))]
        return (*self._best(state), state)

    def __call__(
        self, tokens: Ints, parents: Ints, state: list[tuple[int, Said]]
    ) -> tuple[Floats, Ints, list[tuple[int, Said]]]:
        self.calls += 1
        assert (tokens.dtype.name, parents.dtype.name, tokens.shape) == ("int32", "int32", parents.shape)
        said = [(state[p][0], (*state[p][1], int(t))) for t, p in zip(tokens, parents, strict=True)]
        assert {len(words) for _, words in said} == {self.calls}
        assert [image for image, _ in said] == sorted(image for image, _ in said)
        assert not any(END in words for _, words in said), "a finished hypothesis needs no more words"
        self.rows.append(len(said))
        return (*self._best(said), said)

    def _best(self, said: list[tuple[int, Said]]) -> tuple[Floats, Ints]:
        log_probs = np.stack([self.speakers[image](words) for image, words in said])
        ids = np.argsort(-log_probs, axis=1, kind="stable")[:, : self.width].astype(np.int32)
        return np.take_along_axis(log_probs, ids, axis=1), ids


def by_table(table: dict[str, dict[str, float]]) -> NextWord:
    def after(said: Said) -> Distribution:
        row = table[WORDS[said[-1]] if said else ""]
        with np.errstate(divide="ignore"):
            return np.log(np.array([row.get(word, 0.0) for word in WORDS], np.float32))

    return after


def by_chance(seed: int, size: int) -> NextWord:
    """Returns a speaker whose next word depends on all words before it."""

    def after(said: Said) -> Distribution:
        return np.log(np.random.default_rng([seed, *said]).dirichlet(np.ones(size)) + 1e-6).astype(np.float32)

    return after


def search(*speakers: NextWord, beam: int = 3, words: int = 6, penalty: float = 0.0, width: int = 10,
           wanted: Wanted | None = None, **options: Any) -> list[list[FoundCaption]]:  # fmt: skip
    """Searches the captions of speakers; `options` are those of `Search` that are off by default."""
    speaker = Speaker(speakers, width)
    asked = Search(beam_size=beam, max_words=words, length_penalty=penalty, **options)
    return beam_search(speaker.start(), speaker, asked, end_id=END, wanted=wanted)


def texts(found: list[FoundCaption]) -> list[str]:
    return [" ".join(WORDS[token] for token in caption.tokens) for caption in found]


def every_caption(after: NextWord, size: int, max_words: int, penalty: float) -> list[tuple[Said, float, float]]:
    """Returns tokens, log-probability and score of all sentences up to a length, best first."""
    captions = []
    for length in range(max_words + 1):
        for words in itertools.product(range(1, size), repeat=length):
            tokens = (*words, END) if length < max_words else words
            total = sum(float(after(tokens[:index])[token]) for index, token in enumerate(tokens))
            captions.append((words, total, total / len(tokens) ** penalty))
    return sorted(captions, key=lambda caption: -caption[2])
