"""Reads captions in any known form: cleans them, finds the photos, keeps splits apart, counts what it leaves out."""

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from model.errors import DataError
from training.data.captioned import CaptionedImage, split_of
from training.data.forms.form import Entry, Form, Reading
from training.data.forms.known import recognise
from training.data.forms.photos import Photos, why_no_photo
from training.data.forms.report import Report
from training.data.forms.sentences import captions_of
from training.data.forms.splits import NAMED
from training.data.identity import keep_apart

SHOWN = 3
"""Left out values, or missing photos, that a message shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """The photos of a source.

    Attributes:
        images: Photos with captions, those whose file is missing too.
        found: The source's form, and why it is that one.
        missing: Paths of photos that are not there.
        report: What was left out.
    """

    images: list[CaptionedImage]
    found: str
    missing: list[Path]
    report: Report

    def summary(self) -> list[str]:
        """Returns lines about what was found and what was left out."""
        lines = [f"found: {self.found}", *self.report.summary()]
        if self.missing:
            first = repr(str(self.missing[0]))
            lines.append(f"missing: {len(self.missing)} photos, such as {first}; say where with --photos DIR")
        return lines


def read_captions(
    path: Path, kind: str | None = None, *, dev_fraction: float = 0.1, reading: Reading | None = None
) -> Collected:
    """Reads photos with their captions.

    Args:
        path: A file or directory.
        kind: Name of its form, one of `training.data.forms.known.FORMS`; None to find it out.
        dev_fraction: Share of the photos put in dev where the source has no splits, chosen by a hash of the name.
        reading: What was asked for besides.

    Returns:
        The photos, in order of their first appearance.

    Raises:
        DataError: The form is unknown or another, a file is damaged, or nothing in it can be used.
    """
    reading = Reading() if reading is None else reading
    form, why = recognise(path, reading, kind)
    photos = Photos(path, reading.photos)
    missing: dict[Path, None] = {}
    images = []
    for entry in form.read(path, reading):
        image, is_there = _image(entry, path, photos, reading.report)
        if image is not None:
            images.append(image)
            if not is_there:
                missing[image.path] = None
    (apart,), counts = keep_apart([images])
    kept, kept_for_dev = _with_splits(apart, dev_fraction)
    reading.report.lines += [f"{photo}: photo missing" for photo in missing]
    reading.report.note(
        {
            "further ways to write the path of a photo": photos.respelled,
            "photos of train kept for dev, as the source has none (--dev-fraction)": kept_for_dev,
            **counts,
        }
    )
    collected = Collected(
        images=_with_own_names(kept), found=f"{form.title}: {why}", missing=list(missing), report=reading.report
    )
    _check_usable(path, form, collected)
    return collected


def _image(entry: Entry, source: Path, photos: Photos, report: Report) -> tuple[CaptionedImage | None, bool]:
    """Returns an entry's photo with the split that it names, None if it has none, and whether its file is there."""
    before = len(report.lines)
    captions = captions_of(entry.captions, entry.where, report)
    why = why_no_photo(entry.photo)
    split = None if entry.split is None else NAMED.get(str(entry.split).strip().lower())
    if why:
        report.leave_out_record(entry.where, why, entry.photo)
    elif entry.split is not None and split is None:
        report.leave_out_record(entry.where, "expected the split train, dev or test", entry.split)
    elif captions:
        text = str(entry.photo).strip()
        name = _name_of(text, source)
        inside = None if entry.part is None else (entry.folders[0] / text, True)
        path, is_there = inside or photos.find(text, entry.folders)
        return CaptionedImage(path, name, captions, split or "", entry.part), is_there
    elif len(report.lines) == before:
        report.leave_out_record(entry.where, "no caption", entry.photo)
    return None, False


def _with_splits(images: list[CaptionedImage], dev_fraction: float) -> tuple[list[CaptionedImage], int]:
    """Returns the photos with a split each, and how many of train were put in dev because nothing else is."""
    has_dev = any(image.split == "dev" for image in images)
    found = []
    kept = set()
    for image in images:
        split = image.split
        if not split or (split == "train" and not has_dev):
            split = split_of(image.name, dev_fraction)
        if image.split == "train" and split == "dev":
            kept.add(image.name)
        found.append(replace(image, split=split))
    return found, len(kept)


def _name_of(text: str, source: Path) -> str:
    """Returns a photo's name: its path within the source, the same however it is written."""
    if Path(text).is_absolute():
        text = os.path.relpath(text, source if source.is_dir() else source.parent)
    return _utf8(os.path.normpath(text.replace("\\", "/")))


def _utf8(name: str) -> str:
    """Returns a name as it stands in records, which is UTF-8, as a file's may not be."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _with_own_names(images: list[CaptionedImage]) -> list[CaptionedImage]:
    """Returns the photos with their paths as names where two share one."""
    counts = Counter(image.name for image in images)
    return [image if counts[image.name] == 1 else replace(image, name=_utf8(str(image.path))) for image in images]


def _check_usable(path: Path, form: Form, collected: Collected) -> None:
    if not collected.images:
        found = f"found no photo with a caption in it{_first(collected.report)}"
        raise DataError(f"{path}: expected {form.title} ({form.expects}), {found}")
    if {image.path for image in collected.images} <= set(collected.missing):
        tried = ", ".join(repr(str(photo)) for photo in collected.missing[:SHOWN])
        raise DataError(
            f"{path}: expected the photos that it names, found none of {len(collected.missing)}; tried {tried}; "
            "say where they are with --photos DIR"
        )


def _first(report: Report) -> str:
    lines = report.lines[:SHOWN]
    return f"; the first left out: {'; '.join(lines)}" if lines else "; it is empty"
