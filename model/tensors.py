"""The tensors of a bundle on disk, each stored once: those that the CPU engine's files hold are read from there.

`weights.safetensors` holds the rest, and in its metadata a place for each tensor that lies in another file. The steps
of int8 tensors are in `weights.safetensors`.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
from safetensors.numpy import save

from model.errors import BundleError

STEPS = 127
"""Largest int8 value; -128 is not used."""

DTYPES = ("F16", "F32")
"""Types of number that stored tensors may have, in safetensors' names."""

_LEAST = 2**15
"""Smallest tensor that is looked for in the CPU engine's files, in bytes."""

_ORDERS: Mapping[int, Sequence[tuple[int, ...]]] = {4: [(3, 0, 1, 2)], 2: [(1, 0), (0, 1)]}
"""Orders of axes in which the CPU engine's files hold kernels, by the number of axes."""

Weights = Mapping[str, npt.NDArray[np.floating[Any]]]


@dataclass(frozen=True, slots=True)
class Int8Kernel:
    """A kernel of whole numbers with a step for each output.

    Attributes:
        whole: Shape (..., O), int8, in [-127, 127].
        steps: Shape (O,), float32, at least 0.
        has_identity: Whether an identity is to be added, as for a residual branch: ones in the middle of a 3x3 kernel
            with as many inputs as outputs.
    """

    whole: npt.NDArray[np.int8]
    steps: npt.NDArray[np.float32]
    has_identity: bool = False

    @classmethod
    def nearest(cls, kernel: npt.NDArray[np.float32], *, has_identity: bool = False) -> "Int8Kernel":
        """Rounds a kernel, from which an identity has been taken, to its nearest steps: the largest weight over 127."""
        steps = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1))) / np.float32(STEPS)
        whole = np.rint(kernel / np.where(steps > 0, steps, 1)).astype(np.int8)
        return cls(whole, steps.astype(np.float32), has_identity)

    @property
    def rounded(self) -> npt.NDArray[np.float32]:
        """The kernel without its identity, float32."""
        return self.whole.astype(np.float32) * self.steps

    @property
    def kernel(self) -> npt.NDArray[np.float32]:
        """The kernel, float32."""
        return self.rounded + identity_kernel(len(self.steps)) if self.has_identity else self.rounded


def identity_kernel(channels: int) -> npt.NDArray[np.float32]:
    """Returns the 3x3 kernel that gives its input, shape (3, 3, channels, channels), float32."""
    kernel = np.zeros((3, 3, channels, channels), np.float32)
    kernel[1, 1] = np.eye(channels, dtype=np.float32)
    return kernel


def write_tensors(path: Path, weights: Weights, kernels: Mapping[str, Int8Kernel], files: Mapping[str, bytes]) -> None:
    """Writes `weights.safetensors`.

    Args:
        path: The file.
        weights: All tensors, float16 or float32.
        kernels: The int8 form of those weights that have one.
        files: Contents of the CPU engine's files by name. A tensor that one of them holds is not written again.
    """
    stored: dict[str, npt.NDArray[Any]] = {}
    places: dict[str, str] = {}
    for name, value in weights.items():
        kernel = kernels.get(name)
        place = _find(value if kernel is None else kernel.whole, files)
        if kernel is not None and kernel.has_identity and not kernel.whole.any():
            place = {}
        if place is None:
            stored[name] = np.asarray(value)
            continue
        if kernel is not None:
            stored[name] = kernel.steps
            place["identity"] = kernel.has_identity
        places[name] = json.dumps(place)
    # Written by us, so that a full disk is an OSError like with other files.
    # Contiguous, since safetensors writes transposed arrays in the order of their memory, under their shape.
    path.write_bytes(save({name: np.asarray(value, order="C") for name, value in stored.items()}, places or None))


def read_tensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], files: Collection[str],
    is_wanted: Callable[[str], bool] = lambda _: True,
) -> dict[str, npt.NDArray[np.floating[Any]]]:  # fmt: skip
    """Reads what `write_tensors` wrote.

    Args:
        path: The file.
        shapes: Shape of every tensor that a place is given for.
        files: Names of the files beside it that it may refer to.
        is_wanted: Returns whether the tensor of a name is read; the others are left alone.

    Returns:
        All wanted tensors by name, float16 or float32.

    Raises:
        BundleError: The file is not a safetensors file, holds numbers of another type, or refers to a missing place.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            stored: dict[str, Any] = {}
            for name in filter(is_wanted, file.keys()):
                dtype = file.get_slice(name).get_dtype()
                if dtype not in DTYPES:
                    raise BundleError(
                        f"{path}: {name}: expected numbers of type {' or '.join(DTYPES)}, received {dtype}"
                    )
                stored[name] = file.get_tensor(name)
            places = file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise BundleError(f"{path}: expected a safetensors file, received something else ({error})") from error
    for name, text in ((name, text) for name, text in places.items() if is_wanted(name)):
        try:
            stored[name] = _read_place(path.parent, files, json.loads(text), shapes[name], stored.get(name))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise BundleError(
                f"{path}: {name}: expected the place of a tensor in a file beside it, received {text[:100]!r} "
                f"({error}); export the bundle again"
            ) from error
    return stored


def _find(value: npt.NDArray[Any], files: Mapping[str, bytes]) -> dict[str, Any] | None:
    """Returns the place of a tensor in one of the files; None if no file has it, or it is small."""
    if value.nbytes < _LEAST:
        return None
    for order in _ORDERS.get(value.ndim, ()):
        content = np.ascontiguousarray(value.transpose(order)).tobytes()
        for name, file in files.items():
            if (offset := file.find(content)) >= 0:
                return {"file": name, "offset": offset, "order": list(order), "type": value.dtype.name}
    return None


def _read_place(
    folder: Path, files: Collection[str], place: Mapping[str, Any], shape: tuple[int, ...],
    steps: npt.NDArray[np.float32] | None,
) -> npt.NDArray[np.floating[Any]]:  # fmt: skip
    if place.get("file") not in (None, *files):
        raise ValueError(f"no file {place['file']!r} belongs to the bundle")
    if steps is not None and steps.shape != shape[-1:]:
        raise ValueError(f"expected steps of shape {shape[-1:]}, found {steps.shape}")
    whole: npt.NDArray[Any]
    if "file" not in place:
        whole = np.zeros(shape, np.int8)
    else:
        order = place["order"]
        if sorted(order) != list(range(len(shape))):
            raise ValueError(f"expected an order of {len(shape)} axes")
        allowed = ("float16", "float32") if steps is None else ("int8",)
        if (dtype := place["type"]) not in allowed:
            raise ValueError(f"expected numbers of type {' or '.join(allowed)}")
        laid_out = tuple(shape[axis] for axis in order)
        whole = np.memmap(folder / place["file"], dtype, "r", place["offset"], laid_out).transpose(np.argsort(order))
    if steps is None:
        return np.ascontiguousarray(whole)
    return Int8Kernel(whole, steps, bool(place["identity"])).kernel
