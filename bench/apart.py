"""Packages that are installed apart, because the others cannot have them or do not need them."""

import sys
from importlib.util import find_spec
from pathlib import Path

RAY = Path(__file__).parents[1] / "build" / "ray"
"""The virtual environment that `make ray` makes."""

NO_RAY = "Ray is not installed (`make ray` installs it)"


def python_with_ray() -> str | None:
    """Returns a Python that has Ray: this one, or that of `make ray`; None if there is none."""
    if find_spec("ray") is not None:
        return sys.executable
    return str(RAY / "bin" / "python") if (RAY / ".installed").exists() else None
