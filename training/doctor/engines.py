"""Does the CPU engine with its int8 weights say what the float engine says?"""

import numpy as np

from training.doctor.check import Check
from training.doctor.evidence import Answers, Evidence
from training.doctor.verdicts import Bounds, Figure, present

_CONVERT = "make the CPU engine's files again with `showtell-train convert BUNDLE --records RECORDS`"


def _both(evidence: Evidence) -> tuple[Answers, Answers]:
    return present(evidence.answers), present(evidence.lite)


def _same_captions(evidence: Evidence) -> Figure:
    exact, lite = _both(evidence)
    same = [one == two for one, two in zip(exact.captions, lite.captions, strict=True)]
    first = next((place for place, equal in enumerate(same) if not equal), None)
    other = "" if first is None else f'; "{exact.captions[first]}" became "{lite.captions[first]}"'
    return Figure(value=100 * float(np.mean(same)), text=f"{sum(same)} of {len(same)} photos{other}")


def _same_classes(evidence: Evidence) -> Figure:
    exact, lite = _both(evidence)
    same = exact.probabilities.argmax(axis=1) == lite.probabilities.argmax(axis=1)
    return Figure(value=100 * float(same.mean()), text=f"{int(same.sum())} of {len(same)} photos")


CHECKS = (
    Check(
        name="captions of float and int8",
        about="Photos of dev whose best caption is the same with the float engine and the CPU engine.",
        bounds=Bounds(85, 50, low_is_bad=True),
        advice=_CONVERT,
        measure=_same_captions,
    ),
    Check(
        name="classes of float and int8",
        about="Photos of dev whose first class is the same with both.",
        bounds=Bounds(90, 60, low_is_bad=True),
        advice=_CONVERT,
        measure=_same_classes,
    ),
)
"""The checks of this family."""
