"""The classes of dev: does one class win whatever the photo shows?"""

from collections import Counter

import numpy as np

from training.doctor.check import Check
from training.doctor.evidence import Classes, Evidence
from training.doctor.verdicts import Bounds, Figure, LackingError, present

FEW = 5
"""Photos below which the classes say nothing."""


def _classes(evidence: Evidence) -> Classes:
    found = present(evidence.classes)
    if found.probabilities.shape[1] < 2:
        raise LackingError("the model has one class alone", "nothing: it cannot choose another")
    if len(found.probabilities) < FEW:
        raise LackingError(f"fewer than {FEW} photos say nothing of classes", "raise --photos, or keep more in dev")
    return found


def _commonest(evidence: Evidence) -> Figure:
    probabilities, labels = _classes(evidence)
    best, count = Counter(probabilities.argmax(axis=1).tolist()).most_common(1)[0]
    label = labels[best] if best < len(labels) else f"class {best}"
    return Figure(value=100 * count / len(probabilities), text=f"{count} of {len(probabilities)} photos: {label}")


def _effective(evidence: Evidence) -> Figure:
    probabilities = _classes(evidence).probabilities
    mean = probabilities.mean(axis=0, dtype=np.float64)
    entropy = float(-(mean * np.log(np.maximum(mean, 1e-30))).sum())
    text = f"entropy of the mean prediction {entropy:.2f} of {np.log(len(mean)):.2f} nats ({len(mean)} classes)"
    return Figure(value=float(np.exp(entropy)), text=text)


_COLLAPSE = "train the classes with balanced photos and a lower learning rate; see dev's top-1 in curves.svg"

CHECKS = (
    Check(
        name="commonest class",
        about="Photos of dev with the class that is named most.",
        bounds=Bounds(60, 85),
        advice=_COLLAPSE,
        measure=_commonest,
    ),
    Check(
        name="classes in use",
        about="Exponential of the entropy of the mean prediction: the number of classes that it spreads over.",
        bounds=Bounds(1.5, 1.1, "classes", low_is_bad=True),
        advice=_COLLAPSE,
        measure=_effective,
    ),
)
"""The checks of this family."""
