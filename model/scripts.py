"""Scripts that part no words by spaces, and how words of any script are joined again. Standard library only."""

import itertools
import re
import unicodedata
from collections.abc import Sequence
from typing import Literal, get_args

from model.ranges import check_choice

Segmentation = Literal["spaces", "icu"]
"""How captions are parted into words: at spaces, or by ICU's dictionaries too where a script has no spaces."""

SEGMENTATIONS: tuple[Segmentation, ...] = get_args(Segmentation)

CLOSE = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3041-\u3096\u3099-\u30fa\u30fc-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
"""Letters of Han, kana and Bopomofo, as ranges of a regular expression: no space before nor behind them."""

LOOSE = "\u0e01-\u0e3a\u0e40-\u0eff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"
"""Letters of Thai, Lao, Burmese and Khmer: no space between them, but one before and behind words of other scripts."""

UNSPACED = re.compile(f"[{CLOSE}{LOOSE}]")
"""A letter of a script that parts no words by spaces."""

_CLOSE = re.compile(f"[{CLOSE}]")
_LOOSE = re.compile(f"[{LOOSE}]")

_STOPS = (
    (re.compile(f"[{CLOSE}]"), "。"),
    (re.compile("[\u0e00-\u0eff]"), ""),
    (re.compile("[\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f]"), "။"),
    (re.compile("[\u1780-\u17ff]"), "។"),
    (re.compile("[\u0900-\u0a7f\u0b00-\u0b7f]"), "।"),
    (re.compile("[\u0530-\u058f]"), "։"),
    (re.compile("[\u1200-\u139f]"), "።"),
)
"""The full stops of scripts that have another one than Latin, or none: Thai and Lao."""


def gaps(words: Sequence[str], segmentation: Segmentation) -> list[str]:
    """Returns what stands in front of each word of a caption: a space or nothing.

    Args:
        words: The words in order, none of them empty.
        segmentation: How they were parted.

    Raises:
        ConfigError: There is no such segmentation.
    """
    check_choice("segmentation", segmentation, SEGMENTATIONS)
    pairs = itertools.pairwise(words)
    inner = [" " if segmentation == "spaces" or _are_apart(*pair) else "" for pair in pairs]
    return ["", *inner][: len(words)]


def join(words: Sequence[str], segmentation: Segmentation) -> str:
    """Joins the words of a caption as their scripts do; see `gaps`."""
    return "".join(gap + word for gap, word in zip(gaps(words, segmentation), words, strict=True))


def full_stop(sentence: str) -> str:
    """Returns the full stop of the script of a sentence's last letter; empty where that has none."""
    last = _last_letter(sentence)
    return next((stop for letters, stop in _STOPS if letters.match(last)), ".")


def _are_apart(before: str, after: str) -> bool:
    """Returns whether a space stands between two words."""
    edges = (_last_letter(before), after[0])
    return not any(map(_CLOSE.match, edges)) and not all(map(_LOOSE.match, edges))


def _last_letter(word: str) -> str:
    """Returns the last character that is no combining mark, or the last one where all are."""
    return next((c for c in reversed(word) if unicodedata.category(c)[0] not in "MC"), word[-1:])
