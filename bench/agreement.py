"""Measures how often int8 engines give the caption and the class that ours gives in float32.

The default bundle, with its own search. An engine that is faster by answering otherwise shows here. Without photos,
drawn pictures are captioned, which are unlike those that it was trained on.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import process
from bench.artifacts import prepared
from bench.contenders import CONTENDERS, REFERENCE, Contender, load_engine
from bench.explain import PHOTOS, read_photos
from bench.parity import INT8
from bench.photos import photo
from bench.report import Row, skipped_row
from bench.sizes import Size
from model.bundle import DEFAULT_BUNDLE, BundleInfo
from model.captioner import Captioner
from model.image import read_image

PART = "agreement"
SIZE: Size = "default bundle"
NO_FOLDER = "-"


class Answer(NamedTuple):
    """The best caption of a photo and its most probable class."""

    caption: str
    label: str


def measure(photos: Path | None = None, most: int = PHOTOS) -> list[Row]:
    """Compares every int8 engine with the reference.

    Args:
        photos: A folder with photos; None for drawn pictures.
        most: Most photos, chosen at random.
    """
    expected = _answers(REFERENCE, photos, most)
    rows = []
    for contender in CONTENDERS:
        if contender.tolerance is INT8:
            why = contender.missing()
            what = f"{SIZE}: {contender.what}"
            row = (
                skipped_row(PART, what, why)
                if why
                else agreement_row(what, _answers(contender, photos, most), expected)
            )
            rows.append(row)
    return rows


def agreement_row(what: str, found: Sequence[Answer], expected: Sequence[Answer]) -> Row:
    """Returns the row of the share of photos with the same best caption, in percent, and that of the classes."""
    pairs = list(zip(found, expected, strict=True))
    captions = 100 * sum(one.caption == other.caption for one, other in pairs) / len(pairs)
    classes = 100 * sum(one.label == other.label for one, other in pairs) / len(pairs)
    figures = {"same first class %": round(classes, 1)}
    return Row(PART, what, round(captions, 1), len(pairs), "%", remark="same best caption", figures=figures)


def _answers(contender: Contender, photos: Path | None, most: int) -> list[Answer]:
    folder = prepared(contender.loaded_from, SIZE)
    told = process.run_json("bench.agreement", contender.key, folder, photos or NO_FOLDER, most)
    return [Answer(*answer) for answer in told]


def _run(key: str, folder: Path, photos: str, most: int) -> list[Answer]:
    info = BundleInfo.from_bundle(DEFAULT_BUNDLE)
    captioner = Captioner(info.config, info.vocabulary, info.classes, load_engine(key, folder))
    drawn = photos == NO_FOLDER
    images = [read_image(photo(seed)).pixels for seed in range(most)] if drawn else read_photos(Path(photos), most)
    found = [captioner.predict(pixels[None], captions=1, classes=1)[0] for pixels in images]
    return [Answer(one.captions[0].text, one.classes[0].label) for one in found]


if __name__ == "__main__":
    _key, _folder, _photos, _most = sys.argv[1:]
    process.answer_json(_run(_key, Path(_folder), _photos, int(_most)))
