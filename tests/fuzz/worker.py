"""The process that runs one target again and again, started by `python -m tests.fuzz`.

python -m tests.fuzz.worker NAME ENGINE SECONDS SEED FOLDER FINDINGS    as `tests.fuzz` does
python -m tests.fuzz.worker NAME FILE                                   once, with the content of a file
"""

import contextlib
import hashlib
import importlib
import itertools
import logging
import os
import random
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tests.fuzz.mutations import MAX_BYTES, mutated

FOUND = 3
"""Exit status of a process that has saved a finding."""

CURRENT = "current"
"""Name of the file with the number of inputs that have been run, and the input that is being run."""

COUNT = struct.Struct("<Q")
"""That number, at the beginning of the file."""

_LED_BY = ["model", "server", "PIL", "werkzeug", "tests.fuzz.targets"]

Check = Callable[[bytes], str]


def report(name: str, data: bytes, found: str, findings: Path) -> None:
    """Saves a finding, and says how to repeat it."""
    findings.mkdir(parents=True, exist_ok=True)
    path = findings / f"{name.rpartition(':')[2]}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    say(f"FOUND by {name}: {found}\nrepeat it with: {sys.executable} -m tests.fuzz.worker {name} {path}")


def say(text: str) -> None:
    """Writes to standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main(arguments: Sequence[str]) -> int:
    """Does what the command line says, and returns the exit status."""
    name, *others = arguments
    if len(others) == 1:
        found = _check_of(name)(Path(others[0]).read_bytes())
        say(found or "nothing found")
        return bool(found)
    engine, seconds, seed, folder, findings = others
    _silence_libraries()
    check = _led_check_of(name) if engine == "atheris" else _check_of(name)
    from tests.fuzz import corpus

    seeds = corpus.forms() if name == "form" else [*corpus.files().values(), *corpus.bombs()]
    say(f"{name}: {len(seeds)} files to begin with, {float(seconds):.0f} s, seed {seed}")
    current = os.open(Path(folder, CURRENT), os.O_CREAT | os.O_WRONLY)
    runs = itertools.count()

    def run(data: bytes) -> None:
        os.ftruncate(current, 0)
        os.pwrite(current, COUNT.pack(next(runs)) + data, 0)
        if found := check(data):
            report(name, data, found, Path(findings))
            os._exit(FOUND)

    if engine == "atheris":
        _be_led(run, seeds, float(seconds), int(seed), Path(folder))
    _damage(run, seeds, float(seconds), int(seed))
    return 0


def _silence_libraries() -> None:
    """Lets native libraries and Pillow, which say much of damaged files, write to nobody; Python still writes there."""
    logging.disable()
    sys.stderr = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _check_of(name: str) -> Check:
    """Returns the check of a target of ours, or of a function of another module."""
    targets = importlib.import_module("tests.fuzz.targets")
    module, _, function = name.rpartition(":")
    target = getattr(importlib.import_module(module), function) if module else targets.TARGETS[name]
    peak = targets.Peak()
    return lambda data: targets.judge(target, data, peak)


def _led_check_of(name: str) -> Check:
    """Returns the same, made so that Atheris sees which lines an input reaches."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=_LED_BY):
        return _check_of(name)


def _damage(run: Callable[[bytes], None], seeds: list[bytes], seconds: float, seed: int) -> None:
    """Runs every file to begin with, and then damaged ones."""
    chance = random.Random(seed)
    end = time.monotonic() + seconds
    for data in seeds:
        run(data)
    while time.monotonic() < end:
        run(mutated(chance.choice(seeds), chance, seeds))


def _be_led(run: Callable[[bytes], None], seeds: list[bytes], seconds: float, seed: int, folder: Path) -> NoReturn:
    """Hands over to Atheris, which ends this process; its own damage and ours take turns."""
    atheris: Any = importlib.import_module("atheris")
    (folder / "corpus").mkdir()
    for index, data in enumerate(seeds):
        (folder / "corpus" / str(index)).write_bytes(data)

    def damage(data: bytes, most_bytes: int, chosen: int) -> bytes:
        chance = random.Random(chosen)
        if chance.random() < 0.3:
            return bytes(atheris.Mutate(data, most_bytes))
        return mutated(data, chance, seeds)[:most_bytes]

    options = [
        f"-max_total_time={seconds:.0f}",
        f"-max_len={MAX_BYTES}",
        f"-seed={seed}",
        "-rss_limit_mb=0",
        "-timeout=30",
    ]
    options += [f"-artifact_prefix={folder}/", "-verbosity=0", str(folder / "corpus")]
    atheris.Setup(["fuzz", *options], run, custom_mutator=damage)
    atheris.Fuzz()
    raise AssertionError("expected Atheris to end this process, it did not")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
