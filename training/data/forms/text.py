"""Texts of any encoding, and the JSON in them."""

import codecs
import json
from pathlib import Path
from typing import Any

from model.errors import DataError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
"""Byte order marks; the longer ones first, because that of UTF-32 begins with that of UTF-16."""


def read_text(path: Path, encoding: str | None = None) -> str:
    """Returns a file's text: UTF-8, or UTF-16 and UTF-32 by their byte order mark or their zeros.

    Args:
        path: The file.
        encoding: Its encoding, where it is another.

    Raises:
        DataError: It cannot be read, or has another encoding.
    """
    try:
        data = path.read_bytes()
        return data.decode(encoding or _encoding_of(data)).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}: expected {encoding or 'UTF-8'}, found the byte 0x{error.object[error.start]:02x}; "
            "say which it is, such as --encoding latin-1"
        ) from error
    except LookupError as error:
        raise DataError(f"--encoding: expected a name that Python knows, received {encoding!r}") from error
    except OSError as error:
        raise DataError(f"{path}: expected a text file: {error}") from error


def _encoding_of(data: bytes) -> str:
    mark = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if mark is not None:
        return mark
    head = data[:200]
    if len(head) >= 4 and head[1::2].count(0) > len(head) // 4:
        return "utf-16-le"
    if len(head) >= 4 and head[::2].count(0) > len(head) // 4:
        return "utf-16-be"
    return "utf-8"


def parse(text: str) -> Any:
    """Returns the value of a JSON text.

    Raises:
        ValueError: It is none, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
