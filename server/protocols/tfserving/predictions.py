"""Photos as rows or columns, and the predictions in the same order."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from model.captioner import Prediction
from server.errors import MalformedBodyError
from server.problems import Json
from server.protocols.asking import Asker, Wish

CLASSES = 5
"""Classes of each photo."""

EXAMPLE = 'send for example {"instances": [{"b64": "<base64 of the file>"}]}'

Row = str | dict[str, Any]


class TfPredictBody(Struct):
    """The photos: by row as `instances`, by column as `inputs`. Each is `{"b64": ...}`, or that under any name."""

    instances: list[Row] | None = None
    inputs: Row | list[Row] | None = None


class TfClassifyBody(Struct):
    """The photos, as `examples` or `instances`. Each is `{"b64": ...}`, or that under any name."""

    examples: list[Row] | None = None
    instances: list[Row] | None = None


class TfPrediction(Struct):
    """The best caption of a photo and its classes, most probable first."""

    caption: str
    log_probability: float
    classes: list[str]
    scores: list[float]


class TfColumns(Struct):
    """The same for all photos, one array for each field."""

    caption: list[str]
    log_probability: list[float]
    classes: list[list[str]]
    scores: list[list[float]]


class TfPredictions(Struct, omit_defaults=True):
    """The predictions: `predictions` for `instances`, `outputs` for `inputs`."""

    predictions: list[TfPrediction] | None = None
    outputs: TfColumns | None = None


class TfClassified(Struct):
    """Pairs of label and score for each photo, most probable first."""

    result: list[list[Annotated[list[str | float], Meta(min_length=2, max_length=2)]]]


def predict_wish(asker: Asker, body: TfPredictBody) -> Wish[bool]:
    """Reads a request for predictions; `rest` is whether the answer has columns."""
    rows = [body.instances, None if body.inputs is None else _column(body.inputs)]
    return Wish(images=_photos(asker, rows), rest=body.instances is None, classes=CLASSES)


def classify_wish(asker: Asker, body: TfClassifyBody) -> Wish[None]:
    """Reads a request for classes."""
    return Wish(images=_photos(asker, [body.examples, body.instances]), rest=None, classes=CLASSES)


def predicted(predictions: Sequence[Prediction], *, by_column: bool) -> TfPredictions:
    """Returns the answer to a prediction."""
    rows = [
        TfPrediction(
            item.captions[0].text,
            min(item.captions[0].log_probability, 0.0),
            [one.label for one in item.classes],
            [one.probability for one in item.classes],
        )
        for item in predictions
    ]
    if not by_column:
        return TfPredictions(rows)
    names = TfPrediction.__struct_fields__
    return TfPredictions(outputs=TfColumns(**{name: [getattr(row, name) for row in rows] for name in names}))


def classified(predictions: Sequence[Prediction]) -> TfClassified:
    """Returns the answer to a classification."""
    return TfClassified([[[one.label, one.probability] for one in item.classes] for item in predictions])


def _photos(asker: Asker, choices: Sequence[Sequence[Row] | None]) -> list[bytes]:
    given = [rows for rows in choices if rows is not None]
    if len(given) != 1:
        raise MalformedBodyError(
            f"expected the photos in one place, received {'several' if given else 'none'}; {EXAMPLE}"
        )
    return asker.images([_text(row) for row in given[0]], EXAMPLE)


def _column(value: Row | list[Row]) -> list[Row]:
    """Returns the rows of a column, which may have a name."""
    if isinstance(value, dict) and len(value) == 1 and "b64" not in value:
        (inner,) = value.values()
        value = inner if isinstance(inner, list) else [inner]
    return value if isinstance(value, list) else [value]


def _text(row: Any) -> str:
    """Returns a photo's base64: the row itself, its only value marked `b64`, or its only text."""
    if isinstance(row, str):
        return row
    if isinstance(row, dict):
        for found in (list(_marked(row)), [value for value in row.values() if isinstance(value, str)]):
            if len(found) == 1:
                return found[0]
    raise MalformedBodyError(f"expected one photo in each row, received none or several; {EXAMPLE}")


def _marked(row: Json) -> Iterator[str]:
    """Yields the texts that are marked as base64 by the name `b64`."""
    for value in (row, *row.values()):
        if isinstance(value, dict) and isinstance(value.get("b64"), str):
            yield value["b64"]
