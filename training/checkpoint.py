"""Checkpoints of a training run: model, optimizer and step in one safetensors file. Any Keras backend."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors
from safetensors.numpy import save

from model.atomic import atomic_file
from model.errors import DataError


def save_checkpoint(path: Path, network: keras.Model, progress: dict[str, object]) -> None:
    """Writes every variable of a network and of its optimizer, atomically.

    Args:
        path: The file to create or replace.
        network: A built network; its optimizer is saved with it when it is compiled.
        progress: What the loop needs to go on, JSON values only.
    """
    tensors = {name: np.asarray(keras.ops.convert_to_numpy(v)) for name, v in _variables(network).items()}
    with atomic_file(path) as temporary:
        # Written by us, so that a full disk is an OSError like with any other file.
        temporary.write_bytes(save(tensors, metadata={"progress": json.dumps(progress)}))


def load_checkpoint(path: Path, network: keras.Model) -> dict[str, Any]:
    """Restores what `save_checkpoint` wrote into a network of the same architecture and optimizer.

    Args:
        path: The checkpoint.
        network: A built network, compiled if the optimizer is to be restored too; without an optimizer only
            the weights are read.

    Returns:
        The progress saved with it.

    Raises:
        DataError: The file is damaged or belongs to another architecture.
    """
    variables = _variables(network)
    progress = read_progress(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            saved = {name for name in file.keys() if _optimizer(network) or not name.startswith("optimizer/")}  # noqa: SIM118
            if saved != variables.keys():
                difference = ", ".join(sorted(saved ^ variables.keys())[:4])
                raise DataError(
                    f"{path}: expected a checkpoint of this network, differs in {difference}; use another run directory"
                )
            values = {name: file.get_tensor(name) for name in saved}
    except (safetensors.SafetensorError, OSError) as error:
        raise DataError(f"{path}: expected a checkpoint, received an unreadable file ({error}); delete it") from error
    for name, variable in variables.items():
        if tuple(variable.shape) != values[name].shape:
            raise DataError(f"{path}: {name}: expected shape {tuple(variable.shape)}, received {values[name].shape}")
        variable.assign(values[name])
    return progress


def read_progress(path: Path) -> dict[str, Any]:
    """Reads the progress of a checkpoint without its tensors.

    Raises:
        DataError: The file is missing or damaged.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return dict(json.loads(file.metadata()["progress"]))
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected a checkpoint, received an unreadable file ({error}); delete it") from error


def _variables(network: keras.Model) -> dict[str, keras.Variable]:
    # Seeds and optimizer variables are keyed by position: their paths carry a counter that differs between processes.
    seeds = [variable for variable in network.variables if "seed_generator" in variable.path]
    variables = {variable.path: variable for variable in network.variables if "seed_generator" not in variable.path}
    variables |= {f"seed/{index:04d}": variable for index, variable in enumerate(seeds)}
    optimizer = _optimizer(network)
    if optimizer:
        optimizer.build(network.trainable_variables)
        variables |= {f"optimizer/{index:04d}": v for index, v in enumerate(optimizer.variables)}
    return variables


def _optimizer(network: keras.Model) -> Any:
    """Returns the optimizer of a compiled network, else None; Keras has no such attribute before compiling."""
    return getattr(network, "optimizer", None)
