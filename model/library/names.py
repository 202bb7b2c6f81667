"""Names of files as they can be shown: on any terminal, on one line, in any encoding."""

import io
import sys
import unicodedata
from typing import TextIO

_ESCAPED_BYTES = range(0xDC80, 0xDD00)
"""Characters by which Python writes bytes of a name that are no UTF-8."""

_CONTROLS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of characters that speak to the terminal, break lines, change the direction of text or are no text."""

_JOINERS = frozenset("\u200c\u200d")
"""Characters of category `Cf` that are part of words and emoji."""


def printable(name: str) -> str:
    r"""Returns a name with everything escaped that would do something on a terminal: `\xff`, `\n`, `\x1b`."""
    return name if name.isprintable() else "".join(map(_escaped, name))


def text_of(name: str) -> str:
    r"""Returns a name as text, for files: bytes of it that are none are escaped as `\xff`, all else stays."""
    return "".join(_escaped(character) if "\ud800" <= character <= "\udfff" else character for character in name)


def escape_the_unencodable(*streams: TextIO) -> None:
    """Lets streams write what their encoding lacks as an escape; without any, standard output and error."""
    for stream in streams or (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _escaped(character: str) -> str:
    if ord(character) in _ESCAPED_BYTES:
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.category(character) in _CONTROLS and character not in _JOINERS:
        return character.encode("unicode_escape").decode("ascii")
    return character
