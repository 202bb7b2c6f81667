"""The locks: every package that is installed has one version and hashes, and all that is asked for is there."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = {path.stem: path for path in sorted((ROOT / "locks").glob("*.txt"))}
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

ASKED = {
    "serve": (["heic"], []),
    "tensorflow": (["heic", "tensorflow"], []),
    "gpu": (["gpu", "heic"], []),
    "ray": (["heic", "ray"], []),
    "quick": (["."], ["quick"]),
    "dev": (["training"], ["dev"]),
    "fuzz": ([], ["fuzz"]),
    "kserve": ([], ["kserve"]),
    "build": ([], ["build"]),
    "lock": ([], ["lock"]),
}
"""The extras, `.` for none, and the groups that each lock is made from."""

PLACES = [
    {"python_full_version": f"{python}.0", "sys_platform": system, "platform_machine": machine}
    for python in ("3.11", "3.12", "3.13", "3.14")
    for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
]


class Pin(NamedTuple):
    """A package of a lock."""

    name: str
    version: str
    marker: Marker | None
    hashes: list[str]

    def holds_at(self, place: dict[str, str]) -> bool:
        return self.marker is None or self.marker.evaluate(place)


def pins_of(path: Path) -> list[Pin]:
    """Reads a lock; every line must be a comment, a pin or a hash of the pin above."""
    found: list[Pin] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        if digest := re.fullmatch(r"    --hash=sha256:([0-9a-f]{64})(?: \\)?", line):
            found[-1].hashes.append(digest[1])
            continue
        pin = re.fullmatch(r"([a-z0-9-]+)==([^\s;]+)(?: ; ([^\\]+))? \\", line)
        assert pin is not None, f"{path.name}: {line}"
        found.append(Pin(pin[1], pin[2], Marker(pin[3]) if pin[3] else None, []))
    return found


def requirements(extras: list[str], groups: list[str]) -> Iterator[Requirement]:
    """Yields what the project asks for directly, the extras and groups within extras and groups too."""
    tables = PROJECT["dependency-groups"]
    for group in groups:
        for entry in tables[group]:
            if isinstance(entry, dict):
                yield from requirements([], [entry["include-group"]])
            else:
                yield Requirement(entry)
    optional = PROJECT["project"]["optional-dependencies"]
    for extra in extras:
        for entry in [*PROJECT["project"]["dependencies"], *optional.get(extra, [])]:
            requirement = Requirement(entry)
            if requirement.name == PROJECT["project"]["name"]:
                yield from requirements(sorted(requirement.extras), [])
            else:
                yield requirement


def test_each_lock_is_made_from_something() -> None:
    assert LOCKS.keys() == ASKED.keys()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_hashes_for_everything_and_says_nothing_of_where_it_comes_from(lock: str) -> None:
    pins = pins_of(LOCKS[lock])
    assert pins
    assert [pin.name for pin in pins if not pin.hashes] == []
    assert not re.search(r"https?:|file:|index-url|find-links|@", LOCKS[lock].read_text(encoding="utf-8"))


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_all_that_the_project_asks_for_in_a_version_that_fits(lock: str) -> None:
    pins = pins_of(LOCKS[lock])
    for requirement in requirements(*ASKED[lock]):
        for place in PLACES:
            python = {**place, "python_version": place["python_full_version"].rpartition(".")[0]}
            if requirement.marker is None or requirement.marker.evaluate(python):
                name = canonicalize_name(requirement.name)
                versions = [pin.version for pin in pins if pin.name == name and pin.holds_at(python)]
                assert len(versions) == 1, f"{requirement} at {python}: {versions}; run `make lock`"
                assert versions[0] in requirement.specifier, f"{requirement}: {versions[0]}; run `make lock`"


def test_the_locks_agree() -> None:
    """But for KServe's client, which is installed apart because it cannot have the versions of the others."""
    versions: dict[str, set[tuple[str, ...]]] = {}
    for path in {*LOCKS.values()} - {LOCKS["kserve"]}:
        for pin in pins_of(path):
            versions.setdefault(pin.name, set()).add((pin.version, *sorted(pin.hashes)))
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_serving_needs_no_tensorflow() -> None:
    assert {pin.name for pin in pins_of(LOCKS["serve"])} & {
        "tensorflow",
        "keras",
        "h5py",
        "matplotlib",
        "setuptools",
    } == set()
