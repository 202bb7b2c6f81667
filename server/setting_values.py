"""The values of settings: which ones each takes, how they are read from text, and how they are told in words."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from model.bundle import DEFAULT_BUNDLE
from model.errors import ConfigError

ENVIRONMENT_PREFIX = "SHOWTELL_"


def about(
    text: str, low: float = -math.inf, high: float = math.inf, choices: tuple[str, ...] = (), **others: Any
) -> dict[str, Any]:
    """Returns the metadata of a setting: its help text, and which values it takes.

    Args:
        text: Help text.
        low: Lowest number.
        high: Highest number.
        choices: All values, if they are few.
        others: `pattern`, which a text must match, or each part of a comma-separated one; `form`, the pattern in
            words; `secret`, whether it is never shown and never read from the command line.
    """
    return {
        "about": text, "low": low, "high": high, "choices": choices,
        "pattern": r"(?s).*\S.*", "form": "some text", "secret": False, **others,
    }  # fmt: skip


def variable_of(name: str) -> str:
    """Returns the environment variable of a setting."""
    return ENVIRONMENT_PREFIX + name.upper()


def flag_of(name: str) -> str:
    """Returns the command line flag of a setting."""
    return "--" + name.replace("_", "-")


def accepted(item: "dataclasses.Field[Any]") -> str:
    """Returns in words which values a setting takes."""
    if item.type in (int, float):
        kind = "whole number" if item.type is int else "number"
        return f"a {kind} from {item.metadata['low']} to {item.metadata['high']}"
    choices = ", ".join(item.metadata["choices"])
    if choices:
        return f"some of {choices}" if isinstance(item.default, tuple) else choices
    return str(item.metadata["form"])


def default_of(item: "dataclasses.Field[Any]") -> str:
    """Returns the default of a setting in words."""
    if item.default is DEFAULT_BUNDLE:
        return "/".join(DEFAULT_BUNDLE.parts[-3:])
    if item.default in (None, ()):
        return "none"
    return ",".join(item.default) if isinstance(item.default, tuple) else str(item.default)


def _split(text: str) -> tuple[str, ...]:
    # An empty text gives one empty part, which matches no pattern: an empty variable is a mistake.
    return tuple(part.strip() for part in text.split(","))


_PARSERS: Mapping[Any, Callable[[str], Any]] = MappingProxyType(
    {int: int, float: float, Path: Path, Path | None: Path, tuple[str, ...]: _split}
)


def parsed(item: "dataclasses.Field[Any]", text: str, source: str) -> object:
    """Returns the value that a text is for a setting.

    Args:
        item: The setting.
        text: From a flag or a variable.
        source: Name of that, for the message of an error.

    Raises:
        ConfigError: The text has the wrong form, or the value is outside its range.
    """
    try:
        value = _PARSERS.get(item.type, str)(text)
    except ValueError as error:
        raise _out_of_range(item, text, source) from error
    check(item, text if isinstance(value, Path) else value, source)
    return value


def check(item: "dataclasses.Field[Any]", value: object, source: str) -> None:
    """Makes sure that a setting takes a value.

    Raises:
        ConfigError: It does not; the message names `source`.
    """
    parts = value if isinstance(value, tuple) else (value,)
    if item.metadata["choices"]:
        fits = all(part in item.metadata["choices"] for part in parts)
    elif isinstance(value, int | float):
        fits = item.metadata["low"] <= value <= item.metadata["high"]
    else:
        fits = all(re.fullmatch(item.metadata["pattern"], str(part)) for part in parts)
    if not fits:
        raise _out_of_range(item, value, source)


def _out_of_range(item: "dataclasses.Field[Any]", value: object, source: str) -> ConfigError:
    received = "a secret that is not shown" if item.metadata["secret"] else repr(value)
    return ConfigError(f"{source}: expected {accepted(item)}, received {received}")
