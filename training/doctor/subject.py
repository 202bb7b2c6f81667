"""What the doctor was given: a run directory, a bundle or records, and what a run's note names."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.errors import DataError
from model.manifest import MANIFEST
from training.data.records import INDEX, PLAN, read_kind
from training.loop.checkpoint import BEST, read_progress
from training.loop.directory import CHECKPOINTS, DISTILLED, METRICS
from training.presets import DEVICES
from training.provenance import NOTE, read_runs

Kind = Literal["run", "bundle", "records"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What was given, and what belongs to it.

    Attributes:
        path: The directory.
        kind: What it is.
        records: Records of the photos; None if none are known.
        encoder: Where training's encoder comes from; None if that is not known.
        captioner: The run, if it has a decoder.
        devices: The run's `--devices`, or those of its preset; empty where it had neither.
        by_service: Whether a `tf.data` service decoded the photos of the run.
    """

    path: Path
    kind: Kind
    records: Path | None
    encoder: Path | None = None
    captioner: Path | None = None
    devices: str = ""
    by_service: bool = False

    @property
    def bundle(self) -> Path | None:
        """Returns the bundle, if it is one."""
        return self.path if self.kind == "bundle" else None


def open_subject(path: Path, *, records: Path | None = None, encoder: Path | None = None) -> Subject:
    """Finds out what a directory is, and what belongs to it.

    Args:
        path: A run directory, a bundle or records.
        records: Records in place of those that a run names.
        encoder: An encoder in place of the one that a run names.

    Raises:
        DataError: It is none of these, or a run that has no trained network yet.
    """
    if (path / MANIFEST).is_file():
        return Subject(path=path, kind="bundle", records=records, encoder=encoder)
    if (path / INDEX).is_file() or (path / PLAN).is_file():
        read_kind(path)
        return Subject(path=path, kind="records", records=path)
    if not any((path / name).exists() for name in (BEST, DISTILLED, CHECKPOINTS, METRICS, NOTE)):
        raise DataError(
            f"{path}: expected a run directory, a bundle or finished records, found none of these; "
            "give the --out of a command of showtell-train"
        )
    return _open_run(path, records, encoder)


def _open_run(path: Path, records: Path | None, encoder: Path | None) -> Subject:
    file = next((path / name for name in (BEST, DISTILLED) if (path / name).is_file()), None)
    if file is None:
        raise DataError(f"{path}: expected a trained network ({BEST}), found none; let the run finish its first epoch")
    place = read_progress(file)
    runs = read_runs(path)
    words = shlex.split(runs[-1]["command"]) if runs else []
    return Subject(
        path=path,
        kind="run",
        records=records or _named(path, words, "--records"),
        encoder=encoder or (path if "encoder" in place else _named(path, words, "--encoder", "--imagenet")),
        captioner=path if "decoder" in place else None,
        devices=_devices(words),
        by_service=bool(option_of(words, "--service")),
    )


def option_of(words: Sequence[str], *names: str) -> str:
    """Returns the value of an option in the words of a command line, the last one given; empty if there is none."""
    value = ""
    for place, word in enumerate(words):
        name, equals, behind = word.partition("=")
        if name in names:
            value = behind if equals else "".join(words[place + 1 : place + 2])
    return value


def _devices(words: Sequence[str]) -> str:
    preset = option_of(words, "--preset")
    usual = DEVICES[preset].devices if preset in DEVICES else ""
    return option_of(words, "--devices") or usual


def _named(run: Path, words: Sequence[str], *names: str) -> Path | None:
    """Returns the path of an option that is there: from here, or from a directory above the run."""
    text = option_of(words, *names)
    if not text:
        return None
    return next((place / text for place in (Path(), *run.resolve().parents) if (place / text).exists()), None)
