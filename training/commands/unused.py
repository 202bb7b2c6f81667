"""Flags that would change nothing beside the others: refused, so that nobody believes that they do."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import click

from training.config import OptimizerConfig


class Rule(NamedTuple):
    """What a flag needs.

    Attributes:
        name: Name of its option.
        used: Whether it has that.
        needed: What it needs, in words.
    """

    name: str
    used: bool
    needed: str


def of_optimizer(config: OptimizerConfig) -> tuple[Rule, ...]:
    """Returns what the flags of an optimizer need."""
    stairs = config.schedule == "exponential"
    return (
        Rule("momentum", config.name == "sgd", "--optimizer sgd"),
        Rule("warmup", config.schedule == "cosine", "--schedule cosine"),
        Rule("decay_steps", stairs, "--schedule exponential"),
        Rule("decay_rate", stairs, "--schedule exponential"),
    )


def refuse_unused(options: Mapping[str, Any], rules: Iterable[Rule]) -> None:
    """Refuses the first flag that is given and not used.

    Args:
        options: The command's options; None where a flag is not given.
        rules: What they need.

    Raises:
        UsageError: There is one.
    """
    for name, used, needed in rules:
        if options.get(name) is not None and not used:
            flag = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{flag}: expected {needed} with it; as it is, it would change nothing")
