"""Verdicts: a figure, what is expected of it, and what to do where it is not so."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


class Verdict(StrEnum):
    """What a figure says."""

    FINE = "fine"
    LOOK = "look"
    WRONG = "wrong"
    NOT_DONE = "not done"


class LackingError(Exception):
    """The reason why a check cannot be done.

    Args:
        reason: What is lacking.
        give: What to give, or to do, so that it can be done.
    """

    def __init__(self, reason: str, give: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.give = give


def piece(make: Callable[[], T]) -> T | LackingError:
    """Returns a piece of evidence, or why there is none."""
    try:
        return make()
    except LackingError as error:
        return error


def present(found: T | LackingError) -> T:
    """Returns a piece of evidence.

    Raises:
        LackingError: There is none.
    """
    if isinstance(found, LackingError):
        raise found
    return found


@dataclass(frozen=True, slots=True)
class Bounds:
    """The figures that are fine; the others are worth a look, or wrong.

    Attributes:
        look: The last figure that is fine.
        wrong: The last figure that is not wrong yet.
        unit: Of the figure.
        low_is_bad: Whether figures below these are meant; else those above.
    """

    look: float
    wrong: float
    unit: str = "%"
    low_is_bad: bool = False

    def verdict(self, value: float) -> Verdict:
        """Judges a figure; one that is no number is wrong."""
        if math.isnan(value):
            return Verdict.WRONG
        sign = -1 if self.low_is_bad else 1
        if sign * value > sign * self.wrong:
            return Verdict.WRONG
        return Verdict.LOOK if sign * value > sign * self.look else Verdict.FINE

    @property
    def fine(self) -> str:
        """Returns the figures that are fine, in words."""
        return f"{'at least' if self.low_is_bad else 'at most'} {amount(self.look, self.unit)}"


def amount(value: float, unit: str) -> str:
    """Returns a number of three digits with its unit."""
    return f"{value:.3g} {unit}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What a check measured.

    Attributes:
        value: The figure.
        text: What it was counted on, in words.
        bounds: In place of the check's, where they depend on the data.
    """

    value: float
    text: str = ""
    bounds: Bounds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check.

    Attributes:
        check: Its name.
        verdict: What the figure says.
        value: The figure; None where the check was not done.
        text: What it was counted on; or why the check was not done.
        bounds: What is expected of the figure.
        next_step: What to do; empty where all is fine.
    """

    check: str
    verdict: Verdict
    value: float | None
    text: str
    bounds: Bounds
    next_step: str

    def to_json(self) -> dict[str, object]:
        """Returns the finding as plain values. A figure or bound that is no finite number is null."""
        bounds = self.bounds
        return {
            "check": self.check,
            "verdict": str(self.verdict),
            "value": _finite(self.value),
            "unit": bounds.unit,
            "text": self.text,
            "fine": bounds.fine,
            "look_beyond": _finite(bounds.look),
            "wrong_beyond": _finite(bounds.wrong),
            "low_is_bad": bounds.low_is_bad,
            "next_step": self.next_step,
        }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
