"""Checks of a configuration's values; each names the field, what was expected and what was received."""

from collections.abc import Sequence

from model.errors import ConfigError


def check(name: str, value: object, holds: bool, expected: str) -> None:
    """Checks a value of a field.

    Args:
        name: The field.
        value: The value.
        holds: Whether the value is allowed.
        expected: The allowed values, in words.

    Raises:
        ConfigError: The value is not allowed.
    """
    if not holds:
        raise ConfigError(f"{name}: expected {expected}, received {value!r}")


def check_least(name: str, value: int, low: int) -> None:
    """Checks that a number is at least `low`; raises ConfigError."""
    check(name, value, value >= low, f"at least {low}")


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Checks that a number is from `low` to `high`; raises ConfigError."""
    check(name, value, low <= value <= high, f"{low:g} to {high:g}")


def check_fraction(name: str, value: float) -> None:
    """Checks that a number is in [0, 1); raises ConfigError."""
    check(name, value, 0 <= value < 1, "a number in [0, 1)")


def check_choice(name: str, value: object, choices: Sequence[object], condition: str = "") -> None:
    """Checks that a value is one of a few; raises ConfigError. `condition` ends the message: why only these."""
    *others, last = map(str, choices)
    check(name, value, value in choices, f"{', '.join(others)} or {last}{condition}")
