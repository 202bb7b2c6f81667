"""Dataclasses from parsed JSON: every field's name and type checked, nothing guessed. Standard library only."""

import typing
from dataclasses import is_dataclass
from typing import Any, Literal, TypeVar

from model.errors import ConfigError

T = TypeVar("T")


def parse(cls: type[T], value: object, where: str) -> T:
    """Builds a dataclass from parsed JSON, checking every field's name and type."""
    if not isinstance(value, dict):
        raise ConfigError(f"{where or 'config'}: expected a JSON object, received {type(value).__name__}")
    hints = typing.get_type_hints(cls)
    known = set(hints)
    prefix = f"{where}." if where else ""
    for name in sorted(value.keys() ^ known):
        problem = "is not a known field; remove it" if name in value else "is missing"
        raise ConfigError(f"{prefix}{name} {problem}; expected exactly the fields {', '.join(sorted(known))}")
    return cls(**{name: _parse_field(hints[name], value[name], prefix + name) for name in known})


def _parse_field(hint: Any, value: object, where: str) -> object:
    if is_dataclass(hint):
        return parse(typing.cast(type, hint), value, where)
    if typing.get_origin(hint) is tuple:
        return _parse_tuple(typing.get_args(hint), value, where)
    if typing.get_origin(hint) is Literal:
        expected: tuple[type, ...] = (str,)
    elif hint is float:
        expected = (float, int)
    else:
        expected = (dict,) if typing.get_origin(hint) is not None else (hint,)
    if not isinstance(value, expected) or (isinstance(value, bool) and hint is not bool):
        names = " or ".join(kind.__name__ for kind in expected)
        raise ConfigError(f"{where}: expected {names}, received {value!r}")
    try:
        return float(value) if hint is float else value  # type: ignore[arg-type]
    except OverflowError as error:
        raise ConfigError(f"{where}: expected a number that fits a float, received one that does not") from error


def _parse_tuple(hints: tuple[Any, ...], value: object, where: str) -> tuple[object, ...]:
    if not isinstance(value, list) or len(value) != len(hints):
        raise ConfigError(f"{where}: expected a list of {len(hints)}, received {value!r}")
    return tuple(_parse_field(hint, item, where) for hint, item in zip(hints, value, strict=True))
