"""Words and their ids: tokenize, encode, decode, load and save. Standard library only."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
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

_JOINERS = "'’-"
"""Characters allowed inside a word, but not at its ends nor side by side."""


def tokenize(text: str) -> list[str]:
    """Splits a caption into lower-case words of any script; punctuation is dropped.

    Args:
        text: A sentence.

    Returns:
        Words; hyphens and apostrophes stay inside a word (`t-shirt`, `man's`).
    """
    letters = unicodedata.normalize("NFC", text.lower())
    # Letters, numbers and combining marks, which many scripts write vowels with; re has no class for these.
    kept = "".join(c if c in _JOINERS or unicodedata.category(c)[0] in "LNM" else " " for c in letters)
    words = (word.strip(_JOINERS) for word in re.sub(f"[{_JOINERS}]{{2,}}", " ", kept).split())
    return [word for word in words if word]


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
    def build(cls, captions: Iterable[str], *, min_count: int = 1, max_size: int | None = None) -> Self:
        """Counts the words of captions and keeps the frequent ones.

        Args:
            captions: Sentences.
            min_count: Fewest occurrences of a word that is kept.
            max_size: Largest V, the special tokens included; None keeps every word.

        Returns:
            The vocabulary; ties in frequency are in alphabetical order.
        """
        counts = Counter(word for caption in captions for word in tokenize(caption))
        kept = sorted((w for w, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w))
        return cls([*SPECIAL, *kept][:max_size])

    def encode(self, text: str, *, max_words: int | None = None) -> list[int]:
        """Returns the ids of a caption's words, cut to `max_words`, and the end id after them."""
        return [*(self._ids.get(word, UNKNOWN_ID) for word in tokenize(text)[:max_words]), END_ID]

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
