"""Flags of command lines for the options of a search."""

import re
from collections.abc import Callable
from typing import Any

import click

from model.options import OPTIONS

_NAME = re.compile("`([a-z_]+)`")


def search_flags(*left_out: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes a flag for each option of `SearchOptions`, with its range and its help.

    Args:
        left_out: Options that the command has no flag for, or one of its own.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed([name for name in OPTIONS if name not in left_out]):
            function = _flag(name)(function)
        return function

    return decorate


def _flag(name: str) -> Callable[..., Any]:
    option = OPTIONS[name]
    about = _NAME.sub(lambda found: _spelled(found[1]), option.about)
    if option.kind is bool:
        return click.option(_spelled(name), name, is_flag=True, default=None, help=about)
    if option.kind is int:
        return click.option(_spelled(name), name, type=click.IntRange(int(option.low), int(option.high)), help=about)
    return click.option(_spelled(name), name, type=click.FloatRange(option.low, option.high), help=about)


def _spelled(name: str) -> str:
    return f"--{name.replace('_', '-')}"
