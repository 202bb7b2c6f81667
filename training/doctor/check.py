"""One check: a question that is put to the evidence."""

from collections.abc import Callable
from dataclasses import dataclass

from training.doctor.evidence import Evidence
from training.doctor.verdicts import Bounds, Figure, Finding, LackingError, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check.

    Attributes:
        name: What it looks at.
        about: What its figure is.
        bounds: What is expected of the figure.
        advice: What to do where it is not so.
        measure: Measures the figure; raises `LackingError` where the evidence lacks something.
    """

    name: str
    about: str
    bounds: Bounds
    advice: str
    measure: Callable[[Evidence], Figure]

    def judge(self, evidence: Evidence) -> Finding:
        """Does the check on what there is."""
        try:
            figure = self.measure(evidence)
        except LackingError as lack:
            return self._finding(Verdict.NOT_DONE, None, lack.reason, self.bounds, lack.give)
        bounds = figure.bounds or self.bounds
        verdict = bounds.verdict(figure.value)
        return self._finding(verdict, figure.value, figure.text, bounds, "" if verdict == Verdict.FINE else self.advice)

    def _finding(self, verdict: Verdict, value: float | None, text: str, bounds: Bounds, next_step: str) -> Finding:
        return Finding(check=self.name, verdict=verdict, value=value, text=text, bounds=bounds, next_step=next_step)
