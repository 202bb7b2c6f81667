"""Reports results as a table and as JSON."""

import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from bench.machine import machine
from model.atomic import atomic_file

RATES = frozenset({"images/s", "GMAC/s", "GB/s"})
"""Units of which more is better; of all others, less is better."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement.

    Attributes:
        part: Part of the benchmark.
        what: What was measured.
        value: Median, unless the remark says otherwise; None if nothing could be measured.
        runs: Measurements behind it.
        unit: Unit of the value.
        ratio: How many times better than `against` this is, above 1 is better; None where there is nothing to compare.
        spread: Least and greatest ratio over a few rounds; None where there was one.
        against: `what` of the row that it is compared with.
        remark: Anything else, in words.
        figures: Further figures by name, the unit in the name.
    """

    part: str
    what: str
    value: float | None
    runs: int
    unit: str = "ms"
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    against: str = ""
    remark: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def milliseconds(self) -> float:
        """Returns the value of a row in milliseconds.

        Raises:
            ValueError: The row has no value, or one in another unit.
        """
        if self.value is None or self.unit != "ms":
            raise ValueError(f"{self.what}: expected a value in ms, received {self.value} {self.unit}; compare others")
        return self.value


def median_row(part: str, what: str, seconds: Sequence[float], remark: str = "") -> Row:
    """Returns the row of a series of measurements in seconds."""
    return Row(part, what, round(1000 * statistics.median(seconds), 3), len(seconds), remark=remark)


def skipped_row(part: str, what: str, why: str) -> Row:
    """Returns the row of something that could not be measured here."""
    return Row(part, what, None, 0, unit="", remark=f"skipped: {why}")


def ratio(row: Row, base: Row) -> float | None:
    """Returns how many times better than `base` a row is, by its unit; None where one of them has no value.

    Raises:
        ValueError: The rows have different units.
    """
    if row.value is None or base.value is None:
        return None
    if row.unit != base.unit:
        raise ValueError(f"expected rows in one unit, received {row.what} in {row.unit} and {base.what} in {base.unit}")
    better, worse = (row.value, base.value) if row.unit in RATES else (base.value, row.value)
    return round(better / worse, 3)


def compared(row: Row, base: Row) -> Row:
    """Returns a row with its ratio to another one."""
    value = ratio(row, base)
    return row if value is None else replace(row, ratio=value, against=base.what)


def middle(rows: Sequence[Row]) -> Row:
    """Returns the row with the median value, of an odd number of rows in one unit."""
    return sorted(rows, key=lambda row: row.value or 0.0)[len(rows) // 2]


def compared_in_rounds(rows: Sequence[Row], bases: Sequence[Row]) -> Row:
    """Returns the middle one of a few rounds' rows, with its ratio to another one's.

    Args:
        rows: A row of every round, an odd number of them.
        bases: The rows of the same rounds that they are compared with.

    Returns:
        The row with the median value; its ratio is the median of the ratios within the rounds, which share what the
        machine did meanwhile.
    """
    found = sorted(value for row, base in zip(rows, bases, strict=True) if (value := ratio(row, base)) is not None)
    if not found:
        return middle(rows)
    spread = (found[0], found[-1])
    return replace(middle(rows), ratio=found[len(found) // 2], spread=spread, against=bases[0].what)


def ratio_text(row: Row) -> str:
    """Returns the ratio of a row and its spread, for a reader; an empty text where there is none."""
    if row.ratio is None:
        return ""
    spread = "" if row.spread is None else f" ({row.spread[0]:.2f} to {row.spread[1]:.2f})"
    return f"{row.ratio:.2f}x{spread} of {row.against}"


def percentile(values: Sequence[float], percent: float) -> float:
    """Returns the smallest value that at least `percent` in (0, 100] of all values do not exceed (nearest rank).

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("expected at least one value to take a percentile of, received none; measure again")
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def write_report(rows: Sequence[Row], path: Path) -> None:
    """Prints the rows as a table and writes them as JSON, atomically."""
    described = machine()
    lines = [", ".join(f"{name} {value}" for name, value in described.items()), ""]
    lines += [f"{'part':<10}{'what':<72}{'value':>10} {'unit':<9}{'runs':>5}  ratio, remark"]
    sys.stdout.write("\n".join([*lines, *(_line(row) for row in rows)]) + "\n")
    with atomic_file(path) as file:
        file.write_text(json.dumps({"machine": described, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")


def _line(row: Row) -> str:
    value = "" if row.value is None else f"{row.value:.1f}"
    notes = [text] if (text := ratio_text(row)) else []
    notes += [f"{name} {figure:g}" for name, figure in row.figures.items()]
    notes += [row.remark] if row.remark else []
    return f"{row.part:<10}{row.what:<72}{value:>10} {row.unit:<9}{row.runs:>5}  {'; '.join(notes)}".rstrip()
