"""Checkpoints of a training run: all variables and the progress in one safetensors file. Any Keras backend."""

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import safetensors
from safetensors.numpy import save

from model.atomic import atomic_file
from model.errors import DataError
from training.config import RunConfig
from training.progress import note

Variables = Mapping[str, keras.Variable]
"""Variables by `part/name`, the same in every process; parts are `encoder`, `decoder` and `optimizer`."""

BEST = "best.safetensors"
"""Name of a run's best checkpoint, in its directory."""

NUMBERED = re.compile(r"step-(\d{9})\.safetensors")


def named_variables(network: keras.Model, part: str) -> dict[str, keras.Variable]:
    """Returns all variables of a built network by name, and those of its optimizer if it was compiled with one.

    Args:
        network: The network.
        part: Its part in a checkpoint, `encoder` or `decoder`; in front of every name.

    Returns:
        Variables by name. Seeds and optimizer variables are named by position: their paths carry a counter that
        differs between processes.
    """
    seeds = [variable for variable in network.variables if "seed_generator" in variable.path]
    variables = {f"{part}/{v.path}": v for v in network.variables if "seed_generator" not in v.path}
    variables |= {f"{part}/seed/{index:04d}": variable for index, variable in enumerate(seeds)}
    optimizer = getattr(network, "optimizer", None)  # Keras has no such attribute before compiling
    if optimizer:
        optimizer.build(network.trainable_variables)
        variables |= {f"optimizer/{index:04d}": v for index, v in enumerate(optimizer.variables)}
    return variables


def save_checkpoint(path: Path, variables: Variables, progress: Mapping[str, object]) -> None:
    """Writes variables atomically, with a hash of their values.

    Args:
        path: The file to create or replace.
        variables: What to save, by name.
        progress: State of the loop, to continue from; JSON values only.

    Raises:
        DataError: The disk is full or cannot be written; a file that was there stays as it was.
    """
    content = serialized(variables, progress)
    try:
        with atomic_file(path) as temporary:
            # Written here, not by safetensors, so that a full disk is an OSError.
            temporary.write_bytes(content)
    except OSError as error:
        raise DataError(
            f"{path}: expected to write a checkpoint: {error.strerror}; free some space and call the command again"
        ) from error


def serialized(variables: Variables, progress: Mapping[str, object]) -> bytes:
    """Returns the bytes that `save_checkpoint` writes."""
    # Contiguous, since safetensors writes transposed arrays in the order of their memory, under their shape.
    tensors = {name: np.asarray(keras.ops.convert_to_numpy(v), order="C") for name, v in variables.items()}
    text = json.dumps(progress)
    return save(tensors, metadata={"progress": text, "sha256": _digest(tensors, text)})


def load_checkpoint(path: Path, variables: Variables) -> dict[str, Any]:
    """Restores what `save_checkpoint` wrote into variables of the same names and shapes.

    Args:
        path: The checkpoint.
        variables: What to restore, by `part/name`; other parts are not restored.

    Returns:
        The progress saved with it.

    Raises:
        DataError: The file is damaged or belongs to another architecture.
    """
    values, progress = _read(path)
    parts = {name.split("/")[0] for name in variables}
    expected = {name for name in values if name.split("/")[0] in parts}
    if expected != variables.keys():
        difference = ", ".join(sorted(expected ^ variables.keys())[:4])
        raise DataError(
            f"{path}: expected a checkpoint of this network, differs in {difference}; use another run directory"
        )
    for name, variable in variables.items():
        if tuple(variable.shape) != values[name].shape:
            raise DataError(f"{path}: {name}: expected shape {tuple(variable.shape)}, received {values[name].shape}")
        variable.assign(values[name])
    return progress


def read_progress(path: Path, *, whole: bool = False) -> dict[str, Any]:
    """Reads the progress of a checkpoint.

    Args:
        path: The checkpoint.
        whole: Whether its tensors are read too, to make sure that not a byte of the file is damaged.

    Returns:
        The progress saved with it.

    Raises:
        DataError: The file is missing or damaged.
    """
    if whole:
        return _read(path)[1]
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return dict(json.loads(file.metadata()["progress"]))
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected a checkpoint, received an unreadable file ({error}); delete it") from error


def _read(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            text = file.metadata()["progress"]
            digest = file.metadata()["sha256"]
        progress = dict(json.loads(text))
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected a checkpoint, received an unreadable file ({error}); delete it") from error
    if _digest(values, text) != digest:
        raise DataError(f"{path}: expected the values that were saved, but the file is damaged; delete it")
    return values, progress


def _digest(tensors: Mapping[str, npt.NDArray[Any]], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()


def differences(saved: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    """Yields the dotted names of settings, JSON values, that differ from those in a checkpoint."""
    for name, value in settings.items():
        old = saved.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            yield from (f"{name}.{inner}" for inner in differences(old, value))
        elif old != value:
            yield name


class CheckpointClock:
    """The steps and the time since the last checkpoint.

    Args:
        config: Most steps and minutes between two checkpoints.
        step: Step that the run begins with.

    Attributes:
        saved_at: Step of the last checkpoint.
    """

    def __init__(self, config: RunConfig, step: int) -> None:
        self._config = config
        self.saved(step)

    def saved(self, step: int) -> None:
        """Notes that the checkpoint of a step was written."""
        self.saved_at = step
        self._time = time.monotonic()

    def due(self, step: int) -> bool:
        """Returns whether the next checkpoint is due after a step."""
        old = time.monotonic() - self._time > 60 * self._config.checkpoint_minutes
        return old or step - self.saved_at >= self._config.checkpoint_steps


class CheckpointStore:
    """The newest few checkpoints of a run. If the newest is damaged, an older one is restored.

    Whether the weights of a checkpoint are good, only the loss of the next step tells. Until then the one before stays.

    Args:
        directory: Where they lie, as `step-000001200.safetensors`.
        keep: How many are kept.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self.directory = directory
        self.keep = keep

    def save(self, step: int, variables: Variables, progress: Mapping[str, object]) -> Path:
        """Writes the checkpoint of a step and removes the oldest beyond those kept and one more."""
        path = self.directory / f"step-{step:09d}.safetensors"
        save_checkpoint(path, variables, progress)
        self._remove(list(self.newest_first())[self.keep + 1 :])
        return path

    def confirm(self) -> None:
        """Removes the oldest beyond those kept: the weights of the newest were found to be good."""
        self._remove(list(self.newest_first())[self.keep :])

    def reject(self, step: int) -> Path | None:
        """Removes the checkpoint of a step, whose weights were found to be bad; returns the newest that remains."""
        (self.directory / f"step-{step:09d}.safetensors").unlink(missing_ok=True)
        return next(self.newest_first(), None)

    def _remove(self, paths: Iterable[Path]) -> None:
        for path in paths:
            path.unlink()

    def newest_first(self) -> Iterator[Path]:
        """Yields the checkpoints, the newest first."""
        yield from sorted((f for f in self.directory.glob("step-*") if NUMBERED.fullmatch(f.name)), reverse=True)

    def restore(self, variables: Variables) -> dict[str, Any] | None:
        """Restores the newest undamaged checkpoint; prints a warning for each damaged one.

        Returns:
            Its progress, or None where there is no checkpoint.

        Raises:
            DataError: There are checkpoints, but none can be used.
        """
        problem: DataError | None = None
        for path in self.newest_first():
            try:
                progress = load_checkpoint(path, variables)
            except DataError as error:
                note(f"WARNING: {error}; trying the one before")
                problem = error
                continue
            if problem is not None:
                note(f"WARNING: continuing from {path} instead")
            return progress
        if problem is not None:
            raise problem
        return None
