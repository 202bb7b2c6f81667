"""Fields of configurations. Each declares its text and range once, for the check of a value and for its flag."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from model.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers that a field may have.

    Attributes:
        low: Lowest number.
        high: Highest number.
        low_open: Whether `low` itself is left out.
        high_open: Whether `high` itself is left out.
    """

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        high_enough = value > self.low if self.low_open else value >= self.low
        low_enough = value < self.high if self.high_open else value <= self.high
        return high_enough and low_enough  # NaN is neither

    def __str__(self) -> str:
        if self == POSITIVE:
            return "a positive number"
        if self.high == math.inf:
            return f"at least {self.low}"
        return f"a number in {'(' if self.low_open else '['}{self.low}, {self.high}{')' if self.high_open else ']'}"


POSITIVE = Range(0, low_open=True)
NOT_NEGATIVE = Range(0)
FRACTION = Range(0, 1, high_open=True)
"""A share below 1."""

POSITIVE_FRACTION = Range(0, 1, low_open=True)
"""A share above 0."""

MAX_SEED = 2**31 - 1
SEEDS = Range(0, MAX_SEED)
"""Seeds that TensorFlow, Keras and NumPy all accept."""


def setting(default: Any, about: str, allowed: Range | None = None, *, flag: str = "") -> Any:
    """Declares a field of a configuration.

    Args:
        default: Its default; None means that a value need not be given.
        about: What it is, as the help text of its flag.
        allowed: Its range, for a number. The values of a `Literal` are its choices.
        flag: Name of its flag and in errors, if the name of the field alone is unclear.
    """
    return dataclasses.field(default=default, metadata={"about": about, "allowed": allowed, "flag": flag})


def choices_of(field: "dataclasses.Field[Any]") -> tuple[str, ...]:
    """Returns the values that a field may have, where there are few; else none."""
    return get_args(field.type) if get_origin(field.type) is Literal else ()


def check_fields(config: Any) -> None:
    """Checks every field that `setting` declared.

    Raises:
        ConfigError: A value is outside its range, or none of its choices.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if "allowed" not in field.metadata or (value is None and field.default is None):
            continue
        name = field.metadata["flag"] or field.name
        allowed = field.metadata["allowed"]
        if allowed is not None and value not in allowed:
            raise ConfigError(f"{name}: expected {allowed}, received {value}")
        choices = choices_of(field)
        if choices and value not in choices:
            raise ConfigError(f"{name}: expected {', '.join(choices[:-1])} or {choices[-1]}, received {value!r}")
