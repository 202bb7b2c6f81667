"""Groups of commands: how they list them, and how the program ends."""

import logging
import os
import sys
import traceback
from typing import Any, NoReturn

import click


class Listing(click.Group):
    """A group of which the help has the first sentence of each command whole."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the commands with their first sentences, on several lines where one is too short."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        rows = [
            (name, command.get_short_help_str(limit=1000))
            for name, command in commands.items()
            if command is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Program(Listing):
    """The whole command line. Called as a program, it ends the process at once when the command has ended.

    An interpreter that is taken down waits for TensorFlow's threads, and some of them wait for it: for ever, where one
    of them needs Python. Everything that a command writes is on disk by then.
    """

    def __call__(self, *arguments: Any, **options: Any) -> NoReturn:
        """Runs the command that was typed, and ends the process with its status."""
        try:
            self.main(*arguments, **options)
            status = 0
        except SystemExit as end:
            status = _status(end.code)
        except BaseException:  # noqa: BLE001 - a fault of ours; the process must end all the same
            traceback.print_exc()
            status = 1
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):  # closed, or nobody reads any more
                continue
        os._exit(status)


def _status(code: object) -> int:
    if code is None or isinstance(code, int):
        return code or 0
    click.echo(code, err=True)
    return 1
