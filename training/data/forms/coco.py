"""COCO's captions, of 2014 or 2017, in the usual layouts, and what others write in the same form."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model.errors import DataError
from training.data.forms.form import Entry, Form, Reading, files_in
from training.data.forms.splits import split_in

EXPECTS = "captions_train2017.json: `images` with `id` and `file_name`, `annotations` with `image_id` and `caption`"

_PATTERNS = ("captions_*.json", "*/captions_*.json", "*/*/captions_*.json")


def _sign(path: Path, reading: Reading) -> str | None:
    files = files_in(path, *_PATTERNS)
    if path.is_file() and not _is_ours(path, reading):
        return None
    return f"{files[0].name} has `images` and `annotations`" if files else None


def _is_ours(file: Path, reading: Reading) -> bool:
    document = reading.document(file)
    return isinstance(document, dict) and all(isinstance(document.get(k), list) for k in ("images", "annotations"))


def _read(path: Path, reading: Reading) -> Iterator[Entry]:
    files = files_in(path, *_PATTERNS)
    years = sorted({year for file in files for year in re.findall(r"\d{4}", file.stem)})
    if (len(years) > 1 or reading.year) and str(reading.year) not in years:
        found = " and ".join(years) or "none"
        asked = f"the year {reading.year}" if reading.year else "one year"
        raise DataError(f"{path}: expected {asked}, found {found}; choose one that is there with --year")
    for file in files:
        if len(years) < 2 or str(reading.year) in file.stem:
            if not _is_ours(file, reading):
                raise DataError(f"{file}: expected COCO's captions ({EXPECTS}), found something else")
            yield from _entries(path, file, reading)


def _entries(path: Path, file: Path, reading: Reading) -> Iterator[Entry]:
    document = reading.document(file)
    names = {image.get("id"): image.get("file_name") for image in document["images"] if _has_id(image, "id")}
    captions: dict[Any, list[object]] = defaultdict(list)
    for index, annotation in enumerate(document["annotations"]):
        if not _has_id(annotation, "image_id") or annotation["image_id"] not in names:
            reading.report.leave_out_record(f"{file}, annotation {index}", "of no image", annotation)
        else:
            captions[annotation["image_id"]].append(annotation.get("caption"))
    stem = file.stem.removeprefix("captions_")
    beside = (path,) if path.is_dir() else (file.parent, file.parent.parent)
    roots = beside if reading.photos is None else (reading.photos,)
    folders = tuple(root / below / stem for root in roots for below in ("", "images"))
    for key, texts in captions.items():
        yield Entry(names[key], texts, f"{file}, image {key!r}", split_in(stem), folders)


def _has_id(item: object, name: str) -> bool:
    return isinstance(item, dict) and isinstance(item.get(name), int | str)


COCO = Form(name="coco", title="COCO's captions", expects=EXPECTS, sign=_sign, read=_read)
