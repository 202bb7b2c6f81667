"""Are train and dev apart? Photos and sentences that are in both."""

from training.doctor.check import Check
from training.doctor.evidence import Contents, Evidence
from training.doctor.verdicts import Bounds, Figure, present
from training.doctor.words import captioned, of_photos

NEAR = 0.5
"""Share of the distance between a photo's features and its mirror image's, below which another photo is near-same."""

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
    own = ((near.dev[:, 0] - near.dev[:, 1]) ** 2).sum(axis=1)
    middle = near.train.mean(axis=0)  # taken off, so that differences of squares keep their digits
    train = near.train - middle
    squares = (train**2).sum(axis=1)
    found = []
    for name, photo, limit in zip(near.names, near.dev[:, 0] - middle, own, strict=True):
        distances = squares - 2 * train @ photo + photo @ photo
        if name not in same and distances.min() < NEAR**2 * limit:
            found.append(name)
    first = f", such as {found[0]}" if found else ""
    text = f"{len(found)} of {len(near.names)}{first}, beside those that are the same"
    return Figure(value=100 * len(found) / len(near.names), text=text)


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
        about="Photos of dev with features nearer to those of a training photo than half way to its mirror image's.",
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
