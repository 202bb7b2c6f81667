"""What a benchmark found, as a table to read and JSON to keep."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from model.atomic import atomic_file


@dataclass(frozen=True, slots=True)
class Row:
    """Holds one measurement.

    Attributes:
        part: Part of the benchmark.
        what: What was measured.
        milliseconds: Median.
        runs: Measurements that it is the median of.
        ratio: The time of `against` divided by this one, more is better; None where there is nothing to compare.
        against: What it is compared with, by its `what`.
        remark: Anything else, in words.
    """

    part: str
    what: str
    milliseconds: float
    runs: int
    ratio: float | None = None
    against: str = ""
    remark: str = ""


def median_row(part: str, what: str, seconds: Sequence[float], remark: str = "") -> Row:
    """Returns the row of a series of measurements in seconds."""
    return Row(part, what, round(1000 * statistics.median(seconds), 3), len(seconds), remark=remark)


def machine() -> dict[str, str]:
    """Describes the machine and the versions that the figures belong to."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "processor": names[0].partition(":")[2].strip() if names else platform.processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(memory.split()[1]) / 2**20:.0f} GiB",
        "python": platform.python_version(),
        "tensorflow": version("tensorflow"),
        "keras": version("keras"),
    }


def write_report(rows: Sequence[Row], path: Path) -> None:
    """Prints the rows as a table and writes them as JSON, atomically."""
    described = machine()
    lines = [", ".join(f"{name} {value}" for name, value in described.items()), ""]
    lines += [f"{'part':<10}{'what':<52}{'ms':>10}{'runs':>6}  ratio"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}x of {row.against}"
        lines.append(
            f"{row.part:<10}{row.what:<52}{row.milliseconds:>10.1f}{row.runs:>6}  {ratio} {row.remark}".rstrip()
        )
    sys.stdout.write("\n".join(lines) + "\n")
    with atomic_file(path) as file:
        file.write_text(json.dumps({"machine": described, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
