"""Folders in which each photo's captions lie beside it, as img2dataset's `files` too."""

from collections.abc import Iterator
from pathlib import Path

from model.errors import DataError
from model.image import SUFFIXES
from training.data.forms.form import Entry, Form, Reading
from training.data.forms.splits import NAMED

EXPECTS = "name.txt with a caption a line beside name.jpg"


def _photos(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _sign(path: Path, _reading: Reading) -> str | None:
    if not path.is_dir():
        return None
    photo = next((photo for photo in sorted(_photos(path)) if photo.with_suffix(".txt").is_file()), None)
    if photo is None:
        return None
    text = photo.with_suffix(".txt").name
    made = " (made by img2dataset)" if any(path.glob("*_stats.json")) else ""
    return f"{text} lies beside {photo.name}{made}"


def _read(root: Path, reading: Reading) -> Iterator[Entry]:
    for photo in sorted(_photos(root)):
        name = photo.relative_to(root)
        text = photo.with_suffix(".txt")
        split = NAMED.get(name.parts[0].lower()) if len(name.parts) > 1 else None
        if not text.is_file():
            reading.report.leave_out_record(str(photo), "no caption beside it", text.name)
            continue
        try:
            lines = [line for line in reading.text(text).splitlines() if line.strip()]
        except DataError as error:
            reading.report.leave_out_record(str(text), "no text", str(error))
            continue
        yield Entry(str(name), lines or "", str(text), split, (root,))


SIDECAR = Form(name="folder", title="photos with texts beside them", expects=EXPECTS, sign=_sign, read=_read)
