"""The cores that a process may use: those that it is bound to, and the quotas of its control groups."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from model.engines.cores import quota_cores, usable_cores

Grouped = Callable[[str, dict[str, str]], tuple[Path, Path]]


@pytest.fixture
def grouped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grouped:
    """Returns a function that lays out control groups for a process bound to 8 cores: membership and directory."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    def make(membership: str, files: dict[str, str]) -> tuple[Path, Path]:
        groups = tmp_path / "groups"
        for name, content in files.items():
            (groups / name).parent.mkdir(parents=True, exist_ok=True)
            (groups / name).write_text(content + "\n")
        (tmp_path / "membership").write_text(membership)
        return tmp_path / "membership", groups

    return make


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "250000 100000"}, 2),
        ({"cpu.max": "20000 100000"}, 1),
        ({"cpu.max": "1600000 100000"}, 8),
        ({"cpu.max": "something else"}, 8),
        ({}, 8),
    ],
)
def test_a_container_gets_the_cores_of_its_quota(grouped: Grouped, files: dict[str, str], cores: int) -> None:
    assert usable_cores(*grouped("0::/\n", files)) == cores


@pytest.mark.parametrize(("quota", "cores"), [("300000", 3), ("-1", 8), ("150000", 2)])
def test_the_quota_of_version_1_counts_too(grouped: Grouped, quota: str, cores: int) -> None:
    files = {"cpu/box/cpu.cfs_quota_us": quota, "cpu/box/cpu.cfs_period_us": "100000"}
    assert usable_cores(*grouped("5:memory:/box\n4:cpu,cpuacct:/box\n", files)) == cores


def test_a_group_of_another_controller_does_not_count(grouped: Grouped) -> None:
    files = {"cpu/other/cpu.cfs_quota_us": "100000", "cpu/other/cpu.cfs_period_us": "100000"}
    assert usable_cores(*grouped("5:cpuset:/other\n4:cpu:/mine\n", files)) == 8


def test_the_smallest_quota_on_the_way_to_the_top_holds(grouped: Grouped) -> None:
    files = {"cpu.max": "max 100000", "slice/cpu.max": "150000 50000", "slice/service/cpu.max": "600000 100000"}
    assert quota_cores(*grouped("0::/slice/service\n", files)) == 3


def test_a_path_that_is_not_there_leaves_the_quota_at_the_top(grouped: Grouped) -> None:
    assert quota_cores(*grouped("0::/of/the/host\n", {"cpu.max": "200000 100000"})) == 2


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert quota_cores(tmp_path / "none", tmp_path) == math.inf
