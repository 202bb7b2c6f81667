"""The cores that this process may use."""

import os
from pathlib import Path

CPU_SHARE = Path("/sys/fs/cgroup/cpu.max")
"""A container's CPU quota (cgroup v2): microseconds, or `max`, for each period."""


def usable_cores(share: Path = CPU_SHARE) -> int:
    """Returns the cores that this process may use. More threads than a container's quota would wait for each other.

    Args:
        share: The file with the container's quota.
    """
    # Linux knows which ones this process may use; other systems do not say.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = share.read_text().split()
    except OSError:
        return cores
    return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))
