"""Karpathy's JSON of Flickr8k, Flickr30k and COCO: `dataset_coco.json`, with its splits."""

from collections.abc import Iterator
from pathlib import Path

from training.data.forms.form import Entry, Form, Reading, files_in, one_of

EXPECTS = "dataset_coco.json: `images`, each with `filename`, `split` and `sentences` that have a `raw` text"


def _sign(path: Path, reading: Reading) -> str | None:
    file = next((file for file in files_in(path, "dataset*.json", "*/dataset*.json") if _is_ours(file, reading)), None)
    return None if file is None else f"{file.name} has `images` with `sentences`"


def _is_ours(file: Path, reading: Reading) -> bool:
    document = reading.document(file)
    images = document.get("images") if isinstance(document, dict) else None
    return isinstance(images, list) and any(isinstance(image, dict) and "sentences" in image for image in images)


def _read(path: Path, reading: Reading) -> Iterator[Entry]:
    found = [file for file in files_in(path, "dataset*.json", "*/dataset*.json") if _is_ours(file, reading)]
    file = one_of(path, found)
    for index, image in enumerate(reading.document(file)["images"]):
        where = f"{file}, image {index}"
        if not isinstance(image, dict):
            reading.report.leave_out_record(where, "expected an object", image)
            continue
        photo = image.get("filename")
        folder = image.get("filepath")
        if isinstance(folder, str) and isinstance(photo, str):
            photo = f"{folder}/{photo}"
        yield Entry(photo, image.get("sentences"), where, image.get("split"))


KARPATHY = Form(name="karpathy", title="Karpathy's JSON", expects=EXPECTS, sign=_sign, read=_read)
