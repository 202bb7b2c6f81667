"""Are train and dev apart? Photos and sentences that are in both."""

import numpy as np

from model.search import Floats
from training.doctor.check import Check
from training.doctor.evidence import Contents, Evidence
from training.doctor.verdicts import Bounds, Figure, LackingError, present
from training.doctor.words import captioned, of_photos

NEAR = 0.3
"""Distance of near-same photos, as a share of what usually lies between a training photo and the nearest other one."""

YARDSTICK = 300
"""Training photos on which that is measured."""

EQUAL = 1e-3
"""Distance of photos that are equal, as a share of the features' deviation."""

FEW = 10
"""Training photos below which nothing is usual."""

_APART = (
    "prepare the records again with photos that are in one split alone; scores on dev flatter the model as they are"
)


def _same_photos(evidence: Evidence) -> Figure:
    train = present(evidence.train)
    dev = present(evidence.dev)
    known = {photo.key for photo in train.photos}
    found = [photo.name for photo in dev.photos if photo.key in known]
    first = f", such as {found[0]}" if found else ""
    text = f"{len(found)} of {len(dev.photos)}{first}; looked for in {of_photos(train)} of train"
    return Figure(value=100 * len(found) / len(dev.photos), text=text)


def _near_photos(evidence: Evidence) -> Figure:
    near = present(evidence.neighbours)
    same = _keys(evidence)
    if len(near.train) < FEW:
        raise LackingError(f"fewer than {FEW} training photos say nothing of what is near", "add photos")
    space = _Space(near.train)
    limit = NEAR * space.usual_distance()
    found = [
        name
        for name, photo in zip(near.names, near.dev, strict=True)
        if name not in same and float(space.distances(photo).min()) < limit
    ]
    first = f", such as {found[0]}" if found else ""
    text = f"{len(found)} of {len(near.names)}{first}, beside those that are the same"
    return Figure(value=100 * len(found) / len(near.names), text=text)


class _Space:
    """Distances from the features of training photos (P, D)."""

    def __init__(self, train: Floats) -> None:
        self._middle = train.mean(axis=0)  # taken off, so that differences of squares keep their digits
        self._train = train - self._middle
        self._squares = (self._train**2).sum(axis=1)

    def distances(self, photo: Floats) -> Floats:
        """Returns the distance of a photo's features (D,) from each of them."""
        values = photo - self._middle
        squares = self._squares - 2 * self._train @ values + values @ values
        return np.asarray(np.sqrt(np.maximum(squares, 0)))

    def usual_distance(self) -> float:
        """Returns the median distance of a training photo to the nearest one that is not equal; 0 if all are."""
        equal = EQUAL * float(np.sqrt(self._squares.mean()))
        rows = np.linspace(0, len(self._train) - 1, min(YARDSTICK, len(self._train))).astype(int)
        found = [self.distances(self._train[row] + self._middle) for row in rows]
        nearest = np.median([values[values > equal].min(initial=np.inf) for values in found])
        return float(nearest) if np.isfinite(nearest) else 0.0


def _keys(evidence: Evidence) -> set[str]:
    """Returns the names of photos of dev that are in train too."""
    known = {photo.key for photo in present(evidence.train).photos}
    return {photo.name for photo in present(evidence.dev).photos if photo.key in known}


def _same_sentences(evidence: Evidence) -> Figure:
    train = captioned(evidence.train)
    written: dict[str, int] = {}
    for photo in train.photos:
        for text in set(photo.captions):
            written[text] = written.get(text, 0) + 1
    usual = _share(train, {text for text, count in written.items() if count > 1})
    dev = captioned(evidence.dev)
    value = _share(dev, set(written))
    bounds = Bounds(min(100.0, usual + 10), min(100.0, usual + 50))
    return Figure(value=value, text=f"of {of_photos(dev)}; within train {usual:.1f} % stand twice", bounds=bounds)


def _share(contents: Contents, known: set[str]) -> float:
    captions = [text for photo in contents.photos for text in photo.captions]
    return 100 * sum(text in known for text in captions) / len(captions)


CHECKS = (
    Check(
        name="same photos in train and dev",
        about="Photos of dev whose file is in train too, byte for byte.",
        bounds=Bounds(0, 1),
        advice=_APART,
        measure=_same_photos,
    ),
    Check(
        name="near-same photos in train and dev",
        about="Photos of dev whose features are far nearer to a training photo's than those usually are to each other.",
        bounds=Bounds(1, 5),
        advice=_APART,
        measure=_near_photos,
    ),
    Check(
        name="same sentences in train and dev",
        about="Captions of dev that stand in train word for word. How many stand twice within train sets the bounds.",
        bounds=Bounds(10, 50),
        advice="look for captions or photos that were copied between the splits, and prepare the records again",
        measure=_same_sentences,
    ),
)
"""The checks of this family."""
