"""Captions as text: alt text for pages, and classes as subjects."""

import html
from collections.abc import Iterable, Mapping
from typing import Any

from model.scripts import full_stop


def alt_text(caption: str) -> str:
    """Returns a caption as the value of HTML's `alt`: a sentence with a capital and its script's full stop, escaped."""
    sentence = caption.strip()
    if not sentence:
        return ""
    ending = "" if sentence[-1] in ".!?" else full_stop(sentence)
    return html.escape(f"{sentence[0].title()}{sentence[1:]}{ending}", quote=True)


def subjects(classes: Iterable[Mapping[str, Any]], threshold: float) -> list[str]:
    """Returns the labels of classes whose probability is at least a threshold, as words."""
    return [str(item["label"]).replace("_", " ") for item in classes if item["probability"] >= threshold]
