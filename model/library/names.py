"""Names of files as they can be shown: on any terminal, on one line, in any encoding."""

import io
import sys
from typing import TextIO

_ESCAPED_BYTES = range(0xDC80, 0xDD00)
"""Characters by which Python writes bytes of a name that are no UTF-8."""


def printable(name: str) -> str:
    r"""Returns a name with everything escaped that is no visible character: `\xff`, `\n`, `\x1b`.

    A line break in a name would end a line of the output, and an escape character would speak to the terminal.
    """
    return name if name.isprintable() else "".join(map(_escaped, name))


def escape_the_unencodable(*streams: TextIO) -> None:
    """Lets streams write what their encoding lacks as an escape; without any, standard output and error."""
    for stream in streams or (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _escaped(character: str) -> str:
    if ord(character) in _ESCAPED_BYTES:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
