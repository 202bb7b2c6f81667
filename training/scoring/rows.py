"""Rows of captions, from files in the forms in which people have them."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from model.errors import DataError

FORMS = (
    'a JSON array of objects with "image_id" and "caption" (the form of COCO\'s results), a JSON object a line with '
    '"image" and "caption", or CSV with these columns'
)
"""The forms, in words."""

_IMAGE_FIELDS = ("image", "image_id", "file_name", "file", "name")
_CAPTION_FIELDS = ("caption", "captions", "text")
_DELIMITERS = ",;\t"


class Row(NamedTuple):
    """One row of a file: the image and its captions, with the row's place for messages."""

    place: str
    image: str
    captions: list[str]


def read_rows(path: Path) -> Iterator[Row]:
    """Reads the rows of a file of captions, whatever its form: the content decides, not the name.

    Args:
        path: JSON in the form of COCO's results or of COCO's annotations, JSON lines, CSV, or what `showtell --json`
            prints.

    Raises:
        DataError: The file is no text, or a row has no image or no caption.
    """
    for place, fields in _objects(path, _text_of(path)):
        yield _row(place, fields)


def read_coco_names(path: Path) -> dict[str, str]:
    """Returns the ids of COCO's file names, where a file has them.

    Raises:
        DataError: The file is no text, or its images have no names.
    """
    content = _json_of(_text_of(path))
    images = content.get("images", []) if isinstance(content, dict) else []
    try:
        return {str(image["file_name"]): str(image["id"]) for image in images}
    except (KeyError, TypeError) as error:
        raise DataError(f'{path}: expected "images" with "id" and "file_name", received something else') from error


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a text file in UTF-8: {error}") from error


def _objects(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """Yields each row's place and fields."""
    content = _json_of(text)
    if isinstance(content, dict) and "annotations" in content:
        content = content["annotations"]
    start = text.lstrip()[:1]
    if isinstance(content, list):
        for number, item in enumerate(content, start=1):
            yield f"{path}, item {number}", item
    elif start == "[":
        raise DataError(f"{path}: expected {FORMS}, received JSON that is damaged or cut off")
    elif start == "{":
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield f"{path}:{number}", _json_of(line) or line
    else:
        yield from _table(path, text)


def _table(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    header = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    try:
        for number, row in enumerate(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter), start=2):
            if None in row:
                raise DataError(
                    f"{path}, row {number}: expected as many fields as the header; put captions with commas in quotes"
                )
            yield f"{path}, row {number}", row
    except csv.Error as error:
        raise DataError(f"{path}: expected {FORMS}, received a damaged table: {error}") from error


def _json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _row(place: str, fields: Any) -> Row:
    values = fields if isinstance(fields, dict) else {}
    image = next((values[name] for name in _IMAGE_FIELDS if name in values), None)
    captions = next((values[name] for name in _CAPTION_FIELDS if name in values), None)
    listed: list[Any] = captions if isinstance(captions, list) else [captions]
    # `showtell --json` prints objects with the words of each caption.
    texts: list[Any] = [item.get("text") if isinstance(item, dict) else item for item in listed]
    is_known = isinstance(image, str | int) and not isinstance(image, bool) and str(image) != ""
    if not is_known or not texts or not all(isinstance(item, str) for item in texts):
        raise DataError(f"{place}: expected {FORMS}, received {str(fields)[:80]!r}")
    return Row(place, str(image), texts)
