"""All checks, in the order of the report."""

from training.doctor import captions, classes, engines, features, overlap, setting, words
from training.doctor.check import Check
from training.doctor.evidence import Evidence
from training.doctor.verdicts import Finding

CHECKS: tuple[Check, ...] = (
    *captions.CHECKS, *features.CHECKS, *classes.CHECKS, *words.CHECKS, *overlap.CHECKS, *engines.CHECKS,
    *setting.CHECKS,
)  # fmt: skip
"""The checks."""


def judged(evidence: Evidence) -> list[Finding]:
    """Returns the findings of all checks."""
    return [check.judge(evidence) for check in CHECKS]
