"""Tells captions from what stands in their place: nothing, numbers, signs, and lists that were written as text."""

import ast
import json
import re
import warnings
from collections.abc import Iterator

from training.data.forms.report import Report

CAPTION_NAMES = (
    "caption", "captions", "text", "texts", "txt", "sentence", "sentences", "raw", "comment", "comments", "description",
)  # fmt: skip
"""Names of a field that holds captions, the likeliest first."""

_NULLS = frozenset({"null", "none", "nan", "n/a", "<na>", "undefined"})
"""What other programs write where there is nothing."""

_JOINED = re.compile(r"""['"]\s+['"]""")
"""How NumPy writes a list: without commas. Python would read one joined sentence."""


def captions_of(value: object, where: str, report: Report) -> tuple[str, ...]:
    """Returns the captions in a value, and reports what is none.

    Args:
        value: A sentence, a list of sentences, such a list as text, or an object with one of `CAPTION_NAMES`.
        where: File and place of it.
        report: Gets what is left out.
    """
    found = []
    for item in _items(value):
        why = _no_caption(item)
        if why:
            report.leave_out_caption(where, why, item)
        else:
            found.append(str(item).strip())
    return tuple(found)


def _items(value: object) -> Iterator[object]:
    """Yields what stands in lists and objects, one by one."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            listed = _list_in(item)
            if listed is None:
                yield item
            else:
                pending += reversed(listed)
        elif isinstance(item, list | tuple):
            pending += reversed(item)
        elif isinstance(item, dict):
            name = next((name for name in CAPTION_NAMES if name in item), None)
            if name is None:
                yield item
            else:
                pending.append(item[name])
        else:
            yield item


def _list_in(text: str) -> list[object] | None:
    """Returns the list that a text is, as JSON or Python write it; None where it is none."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None if _JOINED.search(text) else _literal(text)
    return found if isinstance(found, list) else None


def _literal(text: str) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that Python does not know
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None


def _no_caption(item: object) -> str:
    """Returns what a value is that is no caption; empty for a caption."""
    if item is None:
        return "null"
    if isinstance(item, int | float):
        return "number"
    if not isinstance(item, str):
        return "no text"
    return _no_sentence(item.strip())


def _no_sentence(text: str) -> str:
    if not text:
        return "empty"
    if text.casefold() in _NULLS:
        return "null"
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair
        return "no valid text"
    if text.startswith("[") and text.endswith("]") and _JOINED.search(text):
        return "list without commas"
    if any(character.isalpha() for character in text):
        return ""
    return "number" if any(character.isnumeric() for character in text) else "only signs"
