"""What every command shares: how options look, how errors are told, and the command line itself."""

import sys
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click

from model.errors import CaptionerError

EXISTING = click.Path(exists=True, path_type=Path)
ANY = click.Path(path_type=Path)
option = partial(click.option, show_default=True)


def reported(function: Callable[..., Any]) -> Callable[..., Any]:
    """Prints an error of the project or of the disk as one line and exits with 1."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (CaptionerError, OSError) as error:
            raise click.ClickException(str(error)) from error

    return run


def command_line() -> list[str]:
    """Returns the words that were typed."""
    return ["showtell-train", *sys.argv[1:]]
