"""Feeds damaged photos and forms to what reads them, until the time is over or something is found: `make fuzz`.

Each target runs in a process of its own, so that a crash is a finding too. A finding is saved, and printed with the
command that repeats it.
"""

import argparse
import importlib.util
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.worker import COUNT, CURRENT, FOUND, report, say

_GRACE_SECONDS = 60


def main(arguments: Sequence[str]) -> int:
    """Runs what the command line says, and returns the exit status: 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=60, help="Time for all targets together.")
    parser.add_argument(
        "--target", action="append", help="image, form, or a function as module:name; else all of ours."
    )
    parser.add_argument("--seed", type=int, default=random.randrange(2**31), help="Of the damage.")
    parser.add_argument("--without-atheris", action="store_true", help="Damage at random, though Atheris is installed.")
    parser.add_argument("--findings", type=Path, default=Path("findings"), help="Folder for what is found.")
    options = parser.parse_args(arguments)
    engine = "random" if options.without_atheris or importlib.util.find_spec("atheris") is None else "atheris"
    say("Atheris makes the inputs." if engine == "atheris" else "Without Atheris, inputs are damaged at random.")
    names = options.target or ["image", "form"]
    return max([_run(name, engine, options.seconds / len(names), options) for name in names])


def _run(name: str, engine: str, seconds: float, options: argparse.Namespace) -> int:
    """Runs a target in a process of its own, and returns 1 where something was found."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.fuzz.worker", name, engine, str(seconds), str(options.seed), folder]
        try:
            command.append(str(options.findings))
            status = subprocess.run(command, check=False, timeout=seconds + _GRACE_SECONDS).returncode
        except subprocess.TimeoutExpired:
            status = -1
        current = Path(folder, CURRENT).read_bytes()
        (done,) = COUNT.unpack_from(current)
        data = current[COUNT.size :]
        say(f"{name}: {done} inputs" + ("" if status else ", nothing found"))
        if status not in (0, FOUND):
            report(name, data, f"the process ended with status {status}, or hung", options.findings)
    return int(status != 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
