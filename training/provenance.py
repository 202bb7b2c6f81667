"""The note in a run directory: the commands that made it and the time they took."""

import hashlib
import json
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from model.atomic import atomic_file
from model.bundle import CONFIG
from model.errors import CaptionerError
from model.manifest import MANIFEST, sha256_of
from model.ranges import check_choice

NOTE = "run.json"

Part = Literal["encoder", "captioner"]
"""A part of a bundle that is trained by itself, as its provenance names it."""


@contextmanager
def recorded(
    directory: Path, command: Sequence[str], after: Path | None = None, part: Part = "encoder"
) -> Iterator[None]:
    """Adds the command that runs inside the block, with its seconds, to the directory's note.

    A command that ends in an error of the project adds nothing.

    Args:
        directory: Run directory; made if missing.
        command: The words of the command line.
        after: Run directory that the command continues from, or a bundle; its commands come first in a new note.
        part: Which part of the bundle the command trains further.
    """
    check_choice("part", part, get_args(Part))
    started = time.monotonic()
    try:
        yield
    except CaptionerError:
        raise
    except BaseException:
        _add(directory, command, started, after, part)
        raise
    _add(directory, command, started, after, part)


def _add(directory: Path, command: Sequence[str], started: float, after: Path | None, part: Part) -> None:
    entries = read_runs(directory) or (read_runs(after, part) if after else [])
    entries.append({"command": shlex.join(command), "seconds": round(time.monotonic() - started)})
    with atomic_file(directory / NOTE) as file:
        file.write_text(json.dumps(entries, indent=1) + "\n")


def read_runs(directory: Path, part: Part = "encoder") -> list[dict[str, Any]]:
    """Returns the commands that ran in a directory, with their seconds; an empty list where there is no note.

    For a bundle: the commands that made one part of it. The first has the seconds of all.
    """
    check_choice("part", part, get_args(Part))
    if (directory / NOTE).exists():
        return list(json.loads((directory / NOTE).read_text()))
    if not (directory / MANIFEST).exists():
        return []
    stages = json.loads((directory / CONFIG).read_text())["provenance"].get("stages", {})
    made = stages.get(part, {})
    seconds = round(3600 * made.get("hours", 0))
    return [
        {"command": command, "seconds": 0 if number else seconds}
        for number, command in enumerate(made.get("commands", []))
    ]


def stage(directory: Path, part: Part = "encoder") -> dict[str, Any]:
    """Summarises a run for a bundle: its distinct commands in order and the hours of all together; see `read_runs`."""
    runs = read_runs(directory, part)
    return {
        "commands": list(dict.fromkeys(run["command"] for run in runs)),
        "hours": round(sum(run["seconds"] for run in runs) / 3600, 2),
    }


def key_of(*files: Path) -> str:
    """Returns one SHA-256 over the contents of files, in hexadecimal. It identifies the inputs of a run."""
    return hashlib.sha256(b"".join(bytes.fromhex(sha256_of(file)) for file in files)).hexdigest()
