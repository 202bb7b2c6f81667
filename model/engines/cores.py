"""The cores that this process may use."""

import math
import os
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
"""File that names the control groups of this process."""

GROUPS = Path("/sys/fs/cgroup")
"""Directory in which control groups are mounted."""


def usable_cores(membership: Path = MEMBERSHIP, groups: Path = GROUPS) -> int:
    """Returns the cores that this process may use. More threads than a container's quota would wait for each other.

    Args:
        membership: File with this process's control groups.
        groups: Directory of all control groups, version 1 or 2.
    """
    # Linux knows which ones this process may use; other systems do not say.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, round(min(cores, quota_cores(membership, groups)))))


def quota_cores(membership: Path = MEMBERSHIP, groups: Path = GROUPS) -> float:
    """Returns the processor time that this process's control groups allow, in cores; infinity if there is no limit.

    The quota of a group holds for those below it too, so the smallest counts. Inside a container the path that the
    system names may not be there; then the quota lies at the top.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    # Without the file, as without the path: what lies at the top.
    places = {groups, groups / "cpu"}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "cpu") or "cpu" in controllers.split(","):
            top = groups / "cpu" if controllers else groups
            parts = Path(path).parts[1:]
            places.update(top.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1))
    return min(map(_quota_of, places))


def _quota_of(group: Path) -> float:
    """Returns the quota of one group: `cpu.max` in version 2, two files in version 1, where -1 is no limit."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return math.inf
    is_limit = quota.isdecimal() and period.isdecimal() and int(period) > 0
    return int(quota) / int(period) if is_limit else math.inf
