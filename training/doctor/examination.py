"""The examination of a run, a bundle or records, and its report."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.doctor.checks import judged
from training.doctor.gathering import Amounts, gather
from training.doctor.subject import Subject, open_subject
from training.doctor.verdicts import Finding, LackingError, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the checks found.

    Attributes:
        subject: What was given.
        amounts: How much was looked at.
        photos: Photos of dev that networks were run on.
        findings: One for each check.
    """

    subject: Subject
    amounts: Amounts
    photos: int
    findings: Sequence[Finding]

    @property
    def verdict(self) -> Verdict:
        """Returns the worst verdict."""
        found = {finding.verdict for finding in self.findings}
        return next((v for v in (Verdict.WRONG, Verdict.LOOK, Verdict.FINE) if v in found), Verdict.NOT_DONE)

    @property
    def exit_status(self) -> int:
        """Returns 1 where something is wrong, else 0."""
        return int(self.verdict == Verdict.WRONG)

    def summary(self) -> str:
        """Returns how many checks had each verdict."""
        counts = Counter(finding.verdict for finding in self.findings)
        return ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])

    def about(self) -> str:
        """Returns what was looked at."""
        records = f", records {self.subject.records}" if self.subject.records not in (None, self.subject.path) else ""
        ran = f"networks were run on {self.photos} photos of dev chosen by seed {self.amounts.seed}"
        return f"{self.subject.kind} {self.subject.path}{records}; {ran if self.photos else 'no network was run'}"

    def to_json(self) -> dict[str, Any]:
        """Returns the report as plain values."""
        return {
            "path": str(self.subject.path),
            "kind": self.subject.kind,
            "records": None if self.subject.records is None else str(self.subject.records),
            "photos": self.photos,
            "seed": self.amounts.seed,
            "verdict": str(self.verdict),
            "checks": [finding.to_json() for finding in self.findings],
        }


def examine(
    path: Path, *, records: Path | None = None, encoder: Path | None = None, amounts: Amounts | None = None
) -> Report:
    """Examines a run, a bundle or records. Nothing is written.

    Args:
        path: What to examine.
        records: Records in place of those that a run names.
        encoder: Training's encoder in place of the one that a run names.
        amounts: How much is looked at.

    Raises:
        CaptionerError: `path` is none of these, or something is damaged.
    """
    amounts = amounts or Amounts()
    subject = open_subject(path, records=records, encoder=encoder)
    evidence = gather(subject, amounts)
    ran = not (isinstance(evidence.answers, LackingError) and isinstance(evidence.trained, LackingError))
    photos = 0 if isinstance(evidence.sample, LackingError) or not ran else len(evidence.sample.photos)
    return Report(subject=subject, amounts=amounts, photos=photos, findings=judged(evidence))
