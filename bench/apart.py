"""Packages that are installed apart, because the others cannot have them or do not need them."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

RAY = Path(__file__).parents[1] / "build" / "ray"
"""The virtual environment that `make ray` makes."""

INSTALL_PEERS = "pip install --group peers"

NO_RAY = "Ray is not installed (`make ray` installs it)"


def absent(modules: Sequence[str]) -> str | None:
    """Returns which of the libraries of the group `peers` are not installed, and what to do; None if all are."""
    missing = [name for name in modules if find_spec(name) is None]
    return f"not installed: {', '.join(missing)}; {INSTALL_PEERS}" if missing else None


def python_with_ray() -> str | None:
    """Returns a Python that has Ray: this one, or that of `make ray`; None if there is none."""
    if find_spec("ray") is not None:
        return sys.executable
    return str(RAY / "bin" / "python") if (RAY / ".installed").exists() else None
