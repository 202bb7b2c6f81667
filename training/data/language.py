"""The language of captions: how their words are parted, and whether scores that are made for English fit them."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, dropwhile
from typing import Any, NamedTuple, Self

from model.errors import DataError
from model.ranges import check_choice
from model.scripts import CLOSE, LOOSE, SEGMENTATIONS, UNSPACED, Segmentation
from model.vocabulary import JOINERS, Tokenizer, tokenize

ENGLISH = "en"
UNKNOWN = "und"
"""BCP 47's tag of a language that nobody has told."""

UNSPACED_SHARE = 0.01
"""Share of captions with letters of scripts without spaces, from which on ICU parts the words of all."""

_WORDS = "an and are at black blue boy girl green sitting standing the there this through two wearing white with woman"

ENGLISH_WORDS = frozenset(_WORDS.split())
"""Frequent words of English captions that hardly any other language has."""

ENGLISH_SHARE = 0.02
"""Share of them among all words, from which on captions are English."""

FEW_WORDS = 100
"""Words from which on their shares count; fewer are English if all their letters are English."""

_TAG = re.compile("[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")

_EXTENDING = "\u0300-\u036f\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef"
"""Marks and joiners that may stand behind a letter of any script."""

_RUN = re.compile(f"[{CLOSE}{LOOSE}][{CLOSE}{LOOSE}{_EXTENDING}]*|[^{CLOSE}{LOOSE}]+")
"""What ICU parts, and what it does not."""


class Language(NamedTuple):
    """The language of captions; the defaults are what records without one are in.

    Attributes:
        tag: BCP 47's tag, `und` where nobody has told it.
        segmentation: How words are parted.
    """

    tag: str = ENGLISH
    segmentation: Segmentation = "spaces"

    @property
    def is_english(self) -> bool:
        """Returns whether scores that are made for English fit."""
        return self.tag.partition("-")[0].lower() == ENGLISH

    @property
    def tokenizer(self) -> Tokenizer:
        """Returns what parts captions into words; see `tokenizer_of`."""
        return tokenizer_of(self.segmentation)

    def told(self) -> dict[str, str]:
        """Returns what an index says of the language: what differs from the defaults."""
        told = {} if self.tag == ENGLISH else {"language": self.tag}
        return told if self.segmentation == "spaces" else told | {"segmentation": self.segmentation}

    @classmethod
    def of(cls, index: Mapping[str, Any]) -> Self:
        """Reads what `told` returned from among other fields.

        Raises:
            DataError: The segmentation is unknown, or the language is no tag.
        """
        segmentation = index.get("segmentation", "spaces")
        if segmentation not in SEGMENTATIONS:
            raise DataError(f"expected the segmentation {' or '.join(SEGMENTATIONS)}, found {segmentation!r}")
        return cls(checked_tag(index.get("language", ENGLISH)), segmentation)


DEFAULT_LANGUAGE = Language()
"""The language of captions of which nothing is said."""


def tokenizer_of(segmentation: Segmentation) -> Tokenizer:
    """Returns what parts captions into words.

    Raises:
        ConfigError: There is no such segmentation.
        DataError: ICU is wanted and not installed.

    Source:
        Unicode Standard Annex 29, with ICU's dictionaries for Chinese, Japanese, Thai, Lao, Khmer and Burmese. What
        ICU parts are runs of letters of these scripts alone; all else is as without it.
    """
    check_choice("segmentation", segmentation, SEGMENTATIONS)
    if segmentation == "spaces":
        return tokenize
    try:
        from icu4py.breakers import WordBreaker
    except ImportError as error:
        raise DataError(
            "expected icu4py, which parts words of scripts without spaces, found none; install it with "
            "`pip install '.[training]'`, or part the words by spaces yourself and say --segmentation spaces"
        ) from error

    def parts(run: str) -> Iterator[str]:
        return iter(WordBreaker(run, "en")) if UNSPACED.match(run) else iter((run,))

    def segmented(text: str) -> list[str]:
        runs = (_without_ends(run) for word in tokenize(text) for run in _RUN.findall(word))
        return list(chain.from_iterable(parts(run) for run in runs if run))

    return segmented


def _without_ends(run: str) -> str:
    """Returns a run without joiners at its ends, and without marks whose letter is of another script."""
    kept = dropwhile(lambda letter: unicodedata.category(letter)[0] == "M", run)
    return "".join(kept).strip(JOINERS + "\u200c")


def checked_tag(tag: object) -> str:
    """Returns a text that can be the tag of a language; raises DataError for what cannot."""
    if not isinstance(tag, str) or not _TAG.fullmatch(tag):
        raise DataError(f"expected the tag of a language, such as de, ar or zh-Hant, received {tag!r}")
    return tag


def find_language(
    captions: Sequence[str], *, segmentation: Segmentation | None = None, tag: str | None = None
) -> Language:
    """Finds out the language of captions from their scripts, and whether it is English from its frequent words.

    Args:
        captions: Sentences.
        segmentation: How their words are parted; None to find it out.
        tag: The language; None to find out whether it is English.

    Raises:
        ConfigError: There is no such segmentation.
        DataError: The tag is none.
    """
    if segmentation is None:
        segmentation = "icu" if unspaced_share(captions) >= UNSPACED_SHARE else "spaces"
    check_choice("segmentation", segmentation, SEGMENTATIONS)
    if tag is None:
        tag = ENGLISH if segmentation == "spaces" and _are_english(captions) else UNKNOWN
    return Language(checked_tag(tag), segmentation)


def _are_english(captions: Sequence[str]) -> bool:
    words = list(chain.from_iterable(map(tokenize, captions)))
    if len(words) < FEW_WORDS and all(map(str.isascii, words)):
        return True
    return sum(word in ENGLISH_WORDS for word in words) >= ENGLISH_SHARE * len(words)


def unspaced_share(captions: Sequence[str]) -> float:
    """Returns the share of captions that have letters of a script that parts no words by spaces."""
    return sum(UNSPACED.search(text) is not None for text in captions) / max(1, len(captions))
