"""Copies a bundle's tensors into Keras models and back, by the bundle's names."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from model.encoder import fold
from model.tensors import Weights


def assign_weights(network: keras.Model, weights: Weights, part: str) -> None:
    """Copies a bundle's tensors into a network of the same architecture.

    Args:
        network: An encoder or a decoder, built.
        weights: Tensors whose names and shapes were verified.
        part: `encoder` or `decoder`, the first part of the names.
    """
    for name, variable in _named_variables(network):
        variable.assign(np.asarray(weights[f"{part}/{name}"], np.float32))


def bundle_weights(encoder: keras.Model, decoder: keras.Model, dtype: Any = np.float16) -> dict[str, npt.NDArray[Any]]:
    """Returns both networks' tensors as a bundle stores them, batch norm and residual branches folded.

    Args:
        encoder: From `build_encoder`, with or without batch norm.
        decoder: A built decoder.
        dtype: `numpy.float16` or `numpy.float32`.

    Returns:
        Tensors by bundle name.
    """
    folded = {f"encoder/{name}": value.astype(dtype) for name, value in fold(encoder).items()}
    rest = {f"decoder/{n}": keras.ops.convert_to_numpy(v).astype(dtype) for n, v in _named_variables(decoder)}
    return folded | rest


def _named_variables(network: keras.Model) -> Iterator[tuple[str, keras.Variable]]:
    """Yields `layer/variable` names; cells inside GRU layers add no level of their own."""
    for variable in network.trainable_variables:
        parts = [part for part in variable.path.split("/") if part not in ("gru_cell", network.name)]
        yield "/".join(parts), variable
