"""The known forms, and which of them a path has."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from model.errors import DataError
from training.data.forms.coco import COCO
from training.data.forms.flickr import FLICKR
from training.data.forms.form import Form, Reading
from training.data.forms.huggingface import HUGGINGFACE
from training.data.forms.karpathy import KARPATHY
from training.data.forms.parquet import PARQUET
from training.data.forms.sidecar import SIDECAR
from training.data.forms.tables import TABLE, header
from training.data.forms.webdataset import WEBDATASET

BINARY = (WEBDATASET, PARQUET)
"""Forms of files that are no text."""

FORMS: Mapping[str, Form] = MappingProxyType(
    {form.name: form for form in (KARPATHY, COCO, FLICKR, WEBDATASET, HUGGINGFACE, TABLE, SIDECAR, PARQUET)}
)
"""The forms by name; where a directory has several, the first counts."""

_OTHERS = {
    b"PK\x03\x04": "a zip or a spreadsheet (.xlsx); unpack the one, save the other as CSV",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet (.xls); save it as CSV",
    b"\x1f\x8b": "a file compressed by gzip; unpack it first",
    b"BZh": "a file compressed by bzip2; unpack it first",
    b"\xfd7zXZ": "a file compressed by xz; unpack it first",
    b"(\xb5/\xfd": "a file compressed by zstd; unpack it first",
    b"ARROW1": "an Arrow file; write it as Parquet first",
    b"\xff\xd8\xff": "a JPEG; give what holds the captions",
    b"\x89PNG": "a PNG; give what holds the captions",
}
"""Files that people take for others, by their first bytes."""


def recognise(path: Path, reading: Reading, kind: str | None = None) -> tuple[Form, str]:
    """Returns a path's form, and why it is that one.

    Args:
        path: A file or directory.
        reading: How its texts are read.
        kind: Name of the form that it must have; None for any.

    Raises:
        DataError: It has none that is known, or another than it must.
    """
    if not path.exists():
        raise DataError(f"{path}: expected a file or directory, found none; check the path")
    forms = list(FORMS.values()) if path.is_dir() else _forms_of_file(path)
    found = [(form, why) for form in forms if (why := form.sign(path, reading)) is not None]
    wanted = found if kind is None else [(form, why) for form, why in found if form.name == kind]
    if wanted:
        form, why = wanted[0]
        others = [other.name for other, _ in found if other is not form]
        return form, why + (f"; it could be read as {', '.join(others)} too" if others else "")
    if found:
        form, why = found[0]
        raise DataError(f"{path}: expected {_expected(str(kind))}, found {form.title} ({why}); run `prepare auto`")
    raise DataError(_unknown(path, reading, kind))


def _forms_of_file(path: Path) -> list[Form]:
    with path.open("rb") as file:
        head = file.read(16)
    other = next((name for start, name in _OTHERS.items() if head.startswith(start)), None)
    if other is not None:
        raise DataError(f"{path}: expected captions, found {other}")
    binary = [form for form in BINARY if form.sign(path, Reading()) is not None]
    return binary or [form for form in FORMS.values() if form not in BINARY]


def _expected(kind: str) -> str:
    return f"{FORMS[kind].title} ({FORMS[kind].expects})"


def _unknown(path: Path, reading: Reading, kind: str | None) -> str:
    if kind is not None:
        expected = _expected(kind)
    else:
        expected = "; ".join(f"{form.title} ({form.expects})" for form in (KARPATHY, FLICKR, TABLE))
        expected = f"captions in a known form, such as {expected}"
    if path.is_dir():
        if (path / "dataset_info.json").exists():
            return f"{path}: expected {expected}; found a dataset saved by `save_to_disk`: write it with `to_parquet`"
        names = sorted(entry.name for entry in path.iterdir())[:5]
        found = f"found {', '.join(names)}" if names else "found an empty directory"
    else:
        line = header(path, reading)
        found = f"found {line} in its first line" if line else "found an empty file"
    return f"{path}: expected {expected}; {found}; docs/own-data.md has all forms"
