"""The features that the decoder reads: are they those of training, and do they vary from photo to photo?"""

import numpy as np
import numpy.typing as npt

from training.doctor.check import Check
from training.doctor.evidence import Evidence
from training.doctor.verdicts import Bounds, Figure, LackingError, present

DEAD = 1e-6
"""Standard deviation of a unit that is dead, as a share of that of all numbers."""

SAME = 1e-4
"""Largest difference between features that are equal, as a share of their size."""

Doubles = npt.NDArray[np.float64]

_SKEW = (
    "export again from this encoder and these records; if photos come from elsewhere, read them by "
    "`model.image.read_image`, which turns, scales and colours them as training does"
)
_FLAT = "the encoder says the same of every photo: train it further or take another, such as the default bundle's"


def _pair(evidence: Evidence) -> tuple[Doubles, Doubles, str]:
    """Returns training's features and the server's, and where the former come from."""
    trained = present(evidence.trained)
    served = present(evidence.answers).features
    if trained.features.shape != served.shape:
        raise LackingError(
            f"training's features have {trained.features.shape[1]} numbers, the model's {served.shape[1]}",
            "give the --encoder that the model was trained on",
        )
    return trained.features.astype(np.float64), served.astype(np.float64), trained.origin


def _alike(evidence: Evidence) -> Figure:
    trained, served, origin = _pair(evidence)
    return Figure(value=_correlation(trained, served), text=f"{len(served)} photos; training's: {origin}")


def _correlation(one: Doubles, two: Doubles) -> float:
    """Returns Pearson's correlation of what varies from photo to photo."""
    if np.array_equal(one, two):
        return 1.0
    first = one - one.mean(axis=0)
    second = two - two.mean(axis=0)
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / size if size > 0 else 0.0


def _difference(evidence: Evidence) -> Figure:
    trained, served, _ = _pair(evidence)
    largest = float(np.abs(trained - served).max())
    spread = float(trained.std(axis=0).mean())
    ratio = largest / spread if spread else np.inf if largest else 0.0
    return Figure(value=ratio, text=f"largest {largest:.3g}; features deviate by {spread:.3g} from photo to photo")


def _seen(evidence: Evidence) -> Doubles:
    """Returns the features that the model reads; training's where no model is given."""
    answers = evidence.answers
    found = present(evidence.trained).features if isinstance(answers, LackingError) else answers.features
    if len(found) < 2:
        raise LackingError("one photo says nothing of what varies", "raise --photos, or keep more photos in dev")
    return found.astype(np.float64)


def _varying(evidence: Evidence) -> Figure:
    features = _seen(evidence)
    size = float(np.sqrt((features**2).mean()))
    spread = float(np.sqrt(features.var(axis=0).mean()))
    return Figure(
        value=100 * spread / size if size else 0.0,
        text=f"{len(features)} photos: deviation {spread:.3g}, root mean square {size:.3g}",
    )


def _dead(evidence: Evidence) -> Figure:
    features = _seen(evidence)
    dead = int((features.std(axis=0) <= DEAD * max(features.std(), np.finfo(np.float32).tiny)).sum())
    return Figure(value=100 * dead / features.shape[1], text=f"{dead} of {features.shape[1]} units")


def _equal(evidence: Evidence) -> Figure:
    features = _seen(evidence)
    photos = present(evidence.sample).photos
    limit = SAME * float(np.sqrt((features**2).mean()))
    keys = np.array([photo.key for photo in photos])
    count = 0
    for row, key in zip(features, keys, strict=True):
        near = np.abs(features - row).max(axis=1) <= limit
        count += bool((near & (keys != key)).any())
    return Figure(value=100 * count / len(features), text=f"{count} of {len(features)} photos")


CHECKS = (
    Check(
        name="features as in training",
        about="Correlation of the features that training saw with those of the same photos as the server reads them.",
        bounds=Bounds(0.99, 0.9, "", low_is_bad=True),
        advice=_SKEW,
        measure=_alike,
    ),
    Check(
        name="largest difference of features",
        about="Between the same two, in standard deviations of a feature over the photos.",
        bounds=Bounds(1, 5, "std"),
        advice=_SKEW,
        measure=_difference,
    ),
    Check(
        name="features vary",
        about="Standard deviation of the features over the photos, in % of their root mean square.",
        bounds=Bounds(5, 0.5, low_is_bad=True),
        advice=_FLAT,
        measure=_varying,
    ),
    Check(
        name="dead units",
        about="Features that are the same for all photos.",
        bounds=Bounds(40, 90),
        advice="lower the encoder's learning rate or start it from trained weights: dead units do not come back",
        measure=_dead,
    ),
    Check(
        name="photos with equal features",
        about="Photos whose features are those of another photo.",
        bounds=Bounds(2, 20),
        advice=_FLAT,
        measure=_equal,
    ),
)
"""The checks of this family."""
