"""MNIST's arrays in three file formats: `.npy`, `.npz` and idx."""

import gzip
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap

from model.bundle import ClassName
from model.errors import DataError

CLASSES = tuple(ClassName(str(digit), str(digit)) for digit in range(10))
"""The digits, in output order."""

SIDE_PIXELS = 28
"""Height and width of every image."""

_IDX_NAMES = {
    "x_train": "train-images{}idx3-ubyte", "y_train": "train-labels{}idx1-ubyte",
    "x_test": "t10k-images{}idx3-ubyte", "y_test": "t10k-labels{}idx1-ubyte",
}  # fmt: skip
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class DigitArrays:
    """The arrays of a split.

    Attributes:
        path: The file of the images.
        images: Shape (N, 28, 28), uint8.
        labels: Shape (N,), integers in [0, 10).
    """

    path: Path
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.integer]


def read_arrays(root: Path, split: str) -> DigitArrays:
    """Reads and checks the images and labels of a split.

    Args:
        root: Directory with the arrays, or the `.npz` itself.
        split: `train` or `test`.

    Returns:
        The arrays; those of `.npy` files stay on disk and are read as they are used.

    Raises:
        DataError: A file is missing, damaged, or of another shape or type.

    Source:
        The idx format: LeCun, Cortes & Burges, "The MNIST database of handwritten digits".
    """
    image_file, images = _read(root, f"x_{split}")
    label_file, labels = _read(root, f"y_{split}")
    if images.dtype != np.uint8 or images.shape[1:] != (SIDE_PIXELS, SIDE_PIXELS):
        raise DataError(
            f"{image_file}: expected images of shape (N, {SIDE_PIXELS}, {SIDE_PIXELS}), uint8, "
            f"received {images.shape}, {images.dtype}; check that this is MNIST"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
        raise DataError(
            f"{label_file}: expected {len(images)} integer labels, one for each image of {image_file.name}, "
            f"received shape {labels.shape}, {labels.dtype}; check that both files belong together"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= len(CLASSES)))
    if len(wrong):
        raise DataError(
            f"{label_file}: expected labels from 0 to {len(CLASSES) - 1}, received {labels[wrong[0]]} "
            f"in place {wrong[0]}; check that this is MNIST"
        )
    return DigitArrays(image_file, images, labels)


def _read(root: Path, array: str) -> tuple[Path, npt.NDArray[Any]]:
    """Reads an array from the first of its possible files that exists."""
    bundled = root if root.is_file() else root / "mnist.npz"
    idx = [root / (_IDX_NAMES[array].format(mark) + end) for mark in ("-", ".") for end in ("", ".gz")]
    files = [root / f"{array}.npy", bundled, *idx]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise DataError(f"{root}: expected {array}.npy, mnist.npz or {idx[0].name}[.gz], found none; check the path")
    try:
        if file == bundled:
            # Opened here, because NumPy leaves a file open that is no zip.
            with file.open("rb") as content, np.load(content, allow_pickle=False) as arrays:
                return file, arrays[array]
        if file.suffix == ".npy":
            return file, open_memmap(file, mode="r")
        return file, _read_idx(file, dimensions=3 if array.startswith("x") else 1)
    except _UNREADABLE as error:
        raise DataError(f"{file}: expected the whole array {array} of MNIST: {error}; copy the file again") from error


def _read_idx(file: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Reads idx: two zeros, 8 for uint8, the number of dimensions, each size as big-endian uint32, then the values."""
    data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    magic = bytes([0, 0, 8, dimensions])
    if data[:4] != magic:
        raise DataError(f"{file}: expected an idx file that starts with {magic.hex()}, received {data[:4].hex()}")
    start = 4 + 4 * dimensions
    sizes = [int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4)]
    if len(data) != start + math.prod(sizes):
        raise DataError(
            f"{file}: expected {start + math.prod(sizes)} bytes for the sizes {sizes} in its header, "
            f"received {len(data)}; copy the file again"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(sizes)
