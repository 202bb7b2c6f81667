"""Words and their ids: tokenize, encode, decode, load and save. Standard library only."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from model.errors import VocabularyError

PAD = "<pad>"
END = "<end>"
UNKNOWN = "<unk>"
PAD_ID = 0
END_ID = 1
UNKNOWN_ID = 2
SPECIAL = (PAD, END, UNKNOWN)

Tokenizer = Callable[[str], list[str]]
"""Parts a caption into words."""

JOINERS = "'’·׳״-"
"""Characters allowed inside a word, but not at its ends nor side by side: also Catalan's dot and Hebrew's geresh."""

_NON_JOINER = "\u200c"
_ZERO_WIDTH = _NON_JOINER + "\u200d"
"""Zero-width non-joiner and joiner, by which Persian and Indic words are written; other invisible signs are dropped."""

_PRESENTATION_FORMS = re.compile("[\ufb00-\ufdff\ufe70-\ufefc\uff00-\uffef]+")
"""Letters in one of their shapes: ligatures, Arabic forms, full-width Latin and half-width kana."""


def tokenize(text: str) -> list[str]:
    """Splits a caption into lower-case words of any script at spaces; punctuation is dropped.

    Args:
        text: A sentence.

    Returns:
        Words; hyphens and apostrophes stay inside a word (`t-shirt`, `man's`).
    """
    signs = "".join(_spelled(normalized(text)))
    words = (word.strip(JOINERS + _NON_JOINER) for word in re.sub(f"[{JOINERS}]{{2,}}", " ", signs).split())
    return [word for word in words if word]


def normalized(text: str) -> str:
    """Returns a text in lower-case letters, each in its one form: NFC, and NFKC for presentation forms alone.

    NFKC would take other texts apart, such as Thai's vowel am. Lower case is Unicode's, not a language's: `ß` stays,
    and `I` becomes `i` in Turkish too; `İ` becomes `i`.
    """
    visible = "".join(c for c in text if c in _ZERO_WIDTH or c == "\u200b" or unicodedata.category(c) != "Cf")
    plain = _PRESENTATION_FORMS.sub(lambda found: unicodedata.normalize("NFKC", found[0]), visible)
    letters = unicodedata.normalize("NFC", plain.lower())
    if "i\u0307" in letters:
        letters = unicodedata.normalize("NFC", re.sub("i\u0307+", "i", letters))
    return re.sub(f"{_NON_JOINER}+", _NON_JOINER, letters)


def _spelled(letters: str) -> Iterator[str]:
    """Yields what words are written with, and spaces for all else.

    Those are letters, numbers and joiners, and combining marks behind a letter: many scripts write vowels with them.
    """
    has_base = False
    for letter in letters:
        kind = unicodedata.category(letter)[0]
        if kind == "M" or letter in _ZERO_WIDTH:
            yield letter if has_base else ""
            continue
        has_base = kind in "LN"
        yield letter if has_base or letter in JOINERS else " "


class Vocabulary:
    """The mapping of words to ids 0 to V-1 and back.

    Ids 0, 1 and 2 are padding, end and unknown; the words follow by falling frequency, which sampled softmax relies on.

    Args:
        words: Every token in the order of its id, the three special ones first.

    Raises:
        VocabularyError: A special token is not in its place, or a word is empty, repeated or has space in it.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._ids = {word: index for index, word in enumerate(self.words)}
        if self.words[: len(SPECIAL)] != SPECIAL:
            raise VocabularyError(f"expected the first tokens to be {SPECIAL}, received {self.words[:3]}")
        bad = next((w for i, w in enumerate(self.words) if w.split() != [w] or self._ids[w] != i), None)
        if bad is not None:
            raise VocabularyError(f"expected distinct words without space in them, received {bad!r}; remove it")

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    @classmethod
    def build(
        cls, captions: Iterable[str], *, min_count: int = 1, max_size: int | None = None,
        tokenizer: Tokenizer = tokenize,
    ) -> Self:  # fmt: skip
        """Counts the words of captions and keeps the frequent ones.

        Args:
            captions: Sentences.
            min_count: Fewest occurrences of a word that is kept.
            max_size: Largest V, the special tokens included; None keeps every word.
            tokenizer: Parts the captions into words.

        Returns:
            The vocabulary; ties in frequency are in alphabetical order.
        """
        counts = Counter(word for caption in captions for word in tokenizer(caption))
        kept = sorted((w for w, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w))
        return cls([*SPECIAL, *kept][:max_size])

    def encode(self, text: str, *, max_words: int | None = None, tokenizer: Tokenizer = tokenize) -> list[int]:
        """Returns the ids of a caption's words, cut to `max_words`, and the end id after them."""
        return [*(self._ids.get(word, UNKNOWN_ID) for word in tokenizer(text)[:max_words]), END_ID]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Returns the words of ids up to the end id; padding is skipped.

        Raises:
            VocabularyError: An id lies outside [0, V).
        """
        words: list[str] = []
        for index in ids:
            if not 0 <= index < len(self.words):
                raise VocabularyError(f"expected token ids in [0, {len(self.words)}), received {index}")
            if index == END_ID:
                break
            if index != PAD_ID:
                words.append(self.words[index])
        return words

    def save(self, path: Path) -> None:
        """Writes one word a line, UTF-8; the id is the line number from 0."""
        path.write_text("".join(f"{word}\n" for word in self.words), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            VocabularyError: The file is missing, not UTF-8, or not a vocabulary.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise VocabularyError(f"{path}: expected a vocabulary, one word a line: {error}") from error
        return cls(text.removesuffix("\n").split("\n"))
