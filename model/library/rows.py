"""One photo's row: what tables, sidecars and the journal hold of it."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from model.library.names import text_of
from model.library.pipeline import Captioned

if TYPE_CHECKING:
    from model.captioner import Prediction

Row = dict[str, Any]
"""The fields of `row_of`, as JSON has them."""

_NO_CAPTION: Row = {"text": "", "probability": 0.0}


def prediction_json(prediction: "Prediction") -> Row:
    """Returns captions and classes as JSON has them."""
    return {
        "captions": [asdict(caption) | {"probability": caption.probability} for caption in prediction.captions],
        "classes": [asdict(item) for item in prediction.classes],
    }


def row_of(captioned: Captioned) -> Row:
    """Returns the row of a photo: file, sha256, width, height, captions, classes and error, which is null for most."""
    photo, prediction = captioned
    found = prediction_json(prediction) if prediction is not None else {"captions": [], "classes": []}
    return {
        "file": text_of(photo.path), "sha256": photo.sha256, "width": photo.width, "height": photo.height,
        **found, "error": photo.error or None,
    }  # fmt: skip


def captions_of(row: Row) -> list[str]:
    """Returns the texts of a row's captions, best first."""
    return [caption["text"] for caption in row["captions"]]


def best_caption(row: Row) -> str:
    """Returns the best caption of a row; empty if it has none."""
    return next(iter(captions_of(row)), "")


def flat(row: Row, captions: int) -> Iterator[tuple[str, Any]]:
    """Yields the cells of a row for a table without nesting.

    Args:
        row: From `row_of`.
        captions: How many captions have columns of their own.
    """
    yield "file", row["file"]
    for index in range(captions):
        caption = row["captions"][index] if index < len(row["captions"]) else _NO_CAPTION
        number = f"_{index + 1}" if index else ""
        yield f"caption{number}", caption["text"]
        probability = caption["probability"]
        yield f"probability{number}", f"{probability:.6g}" if caption["text"] else ""
    yield (
        "classes",
        "; ".join(f"{item['label'].replace('_', ' ')} {item['probability']:.3f}" for item in row["classes"]),
    )
    yield from ((name, row[name]) for name in ("width", "height", "sha256"))
    yield "error", row["error"] or ""
