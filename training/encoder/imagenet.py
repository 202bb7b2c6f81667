"""ImageNet weights of VGG-19 and VGG-16: Keras's official files, read as plain tensors, into our encoder."""

import re
from pathlib import Path
from typing import NamedTuple

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
import numpy.typing as npt

from model.bundle import weight_shapes
from model.errors import ConfigError, DataError
from model.presets import paper
from model.tensors import identity_kernel

Tensor = npt.NDArray[np.float32]
Shape = tuple[int, ...]


class PretrainedFile(NamedTuple):
    """A public weights file.

    Attributes:
        network: Name of the network.
        url: Where it is.
        checksum: `md5:` and 32 hexadecimal digits.
    """

    network: str
    url: str
    checksum: str


IMAGENET_VGG19 = PretrainedFile(
    "VGG-19",
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/vgg19_weights_tf_dim_ordering_tf_kernels.h5",
    "md5:cbe5617147190e668d6c5d5026f83318",
)
"""VGG-19 with its fully connected layers, 575 MB; address and checksum are those of `keras.applications.vgg19`."""

IMAGENET_VGG16 = PretrainedFile(
    "VGG-16",
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "md5:6d6bbae143d832006294945121d1f1fc",
)
"""VGG-16's convolutions, 59 MB; address and checksum are those of `keras.applications.vgg16`."""

GROWN = ("block3_conv4", "block4_conv4", "block5_conv4")
"""Convolutions that VGG-19 has and VGG-16 lacks."""

TOP_LAYER = "predictions"
_NAMES = {"kernel": re.compile(r"(?:W|kernel)(?:_\d+)?(?::\d+)?"), "bias": re.compile(r"(?:b|bias)(?:_\d+)?(?::\d+)?")}


def load_imagenet(path: Path, encoder: keras.Model) -> None:
    """Copies the ImageNet weights into an encoder, all or none.

    Args:
        path: The file that `IMAGENET_VGG19` names, in the HDF5 layout of Keras before version 3.
        encoder: From `build_encoder`, with the network of the paper (the defaults of `EncoderConfig`). With another
            number of classes than 1000 its `predictions` layer keeps its fresh weights.

    Raises:
        ConfigError: The encoder has another architecture or normalisation than these weights were trained with.
        DataError: The file is missing, damaged, or holds other tensors.

    Source:
        Simonyan & Zisserman 2014, configuration E (arXiv:1409.1556), converted to Keras by F. Chollet. Read with
        h5py alone: Keras's own loaders are not meant for files that might be hostile.
    """
    shapes = _official_shapes()
    skipped = _skipped_layers(encoder, shapes)
    _assign(encoder, _read(path, IMAGENET_VGG19, shapes, skipped))


def grow_imagenet(path: Path, encoder: keras.Model) -> None:
    """Copies ImageNet VGG-16's convolutions into a VGG-19, all or none; those that VGG-16 lacks become identities.

    Args:
        path: The file that `IMAGENET_VGG16` names, or the one with the fully connected layers, which are not read.
        encoder: From `build_encoder`, with convolutions of full width, no batch norm and `caffe` normalisation. Its
            fully connected layers keep their weights.

    Raises:
        ConfigError: The encoder has another architecture or normalisation than these weights were trained with.
        DataError: The file is missing, damaged, or holds other tensors.

    Source:
        Net2DeeperNet (Chen et al. 2015, arXiv:1511.05641): behind a ReLU a 3x3 kernel with ones in its centre changes
        nothing, so that the maps are those of VGG-16 until training moves it.
    """
    shapes = {name: shape for name, shape in _official_shapes().items() if "_conv" in name}
    what = "the weights of VGG-16 fit convolutions of full width without batch norm"
    _check_plain(encoder, shapes, what, prefix="block")
    known = {name: shape for name, shape in shapes.items() if name.partition("/")[0] not in GROWN}
    weights = _read(path, IMAGENET_VGG16, known, frozenset(), foreign=GROWN)
    for layer in GROWN:
        channels = shapes[f"{layer}/bias"][0]
        weights[f"{layer}/kernel"] = identity_kernel(channels)
        weights[f"{layer}/bias"] = np.zeros(channels, np.float32)
    _assign(encoder, weights)


def _assign(encoder: keras.Model, weights: dict[str, Tensor]) -> None:
    for layer in encoder.layers:
        for part, variable in zip(("kernel", "bias"), layer.weights, strict=False):
            if f"{layer.name}/{part}" in weights:
                variable.assign(weights[f"{layer.name}/{part}"])


def _official_shapes() -> dict[str, Shape]:
    """Returns the shapes of the file's tensors by `layer/kernel` and `layer/bias`."""
    names = weight_shapes(paper()).items()
    return {name.removeprefix("encoder/"): shape for name, shape in names if name.startswith("encoder/")}


def _skipped_layers(encoder: keras.Model, shapes: dict[str, Shape]) -> frozenset[str]:
    """Checks that the encoder has the official architecture; returns the layers that the file does not fill."""
    what = "ImageNet weights fit EncoderConfig() with any number of classes: full width, fc_units 4096, flatten"
    top = {name for name in shapes if name.partition("/")[0] == TOP_LAYER}
    found = _check_plain(encoder, shapes, what, free=frozenset(top))
    classes = found[f"{TOP_LAYER}/kernel"][-1]
    return frozenset() if classes == shapes[f"{TOP_LAYER}/kernel"][-1] else frozenset({TOP_LAYER})


def _check_plain(
    encoder: keras.Model, shapes: dict[str, Shape], what: str, *, prefix: str = "", free: frozenset[str] = frozenset()
) -> dict[str, Shape]:
    """Checks that an encoder is a plain VGG-19 whose layers called `prefix`… have these tensors; returns their shapes.

    Those named in `free` may have any shape.
    """
    layers = {layer.name: layer for layer in encoder.layers}
    normalization = getattr(layers.get("normalization"), "normalization", None)
    if normalization != "caffe":
        raise ConfigError(f"encoder.normalization: expected caffe, received {normalization}; {what}")
    extra = [name for name in layers if name == "input_pool" or name.endswith("_add")]
    if extra:
        raise ConfigError(f"encoder: expected a plain VGG-19, received the layer {extra[0]} in it; {what}")
    found = {
        f"{layer.name}/{variable.name}": tuple(variable.shape)
        for layer in encoder.layers
        for variable in layer.weights
        if layer.name.startswith(prefix)
    }
    for name in sorted(shapes.keys() | found.keys()):
        expected = shapes.get(name)
        received = found.get(name)
        if expected != received and (name not in free or received is None):
            raise ConfigError(f"encoder, {name}: expected {_told(expected)}, received {_told(received)}; {what}")
    return found


def _told(shape: Shape | None) -> str:
    return "no such tensor" if shape is None else f"the shape {shape}"


def _read(
    path: Path,
    source: PretrainedFile,
    shapes: dict[str, Shape],
    skipped: frozenset[str],
    foreign: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """Reads the tensors of every layer but the skipped ones, after checking the names and shapes of all."""
    try:
        with h5py.File(path, "r") as file:
            strange = [layer for layer in foreign if layer in file]
            if strange:
                raise DataError(
                    f"{path}: expected weights of {source.network}, found the layer {strange[0]} of another network; "
                    f"use {source.url}, or start from VGG-19's own file without this step (`--imagenet`)"
                )
            datasets = {name: _dataset(path, file, source, name, shape) for name, shape in shapes.items()}
            return {
                name: _values(path, name, dataset)
                for name, dataset in datasets.items()
                if name.partition("/")[0] not in skipped
            }
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{path}: expected the HDF5 file of {source.network} weights from {source.url}, received: {error}; "
            "download it again"
        ) from error


def _dataset(path: Path, file: h5py.File, source: PretrainedFile, name: str, shape: Shape) -> h5py.Dataset:
    """Finds one tensor by its layer's list of names, and checks all that can be checked without reading it."""
    layer, _, part = name.partition("/")
    if not isinstance(_member(file, layer), h5py.Group):
        reason = "this is the file without the fully connected layers (notop); " if layer == "fc1" else ""
        raise DataError(f"{path}: expected weights of the layer {layer}, found none; {reason}use {source.url}")
    stored = _stored_names(path, file[layer], layer)[("kernel", "bias").index(part)]
    if not _NAMES[part].fullmatch(stored.rpartition("/")[2].removeprefix(f"{layer}_")):
        raise DataError(f"{path}, {layer}: expected the name of a {part}, received {stored!r}; download it again")
    dataset = _member(file[layer], stored)
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual or dataset.chunks:
        raise DataError(f"{path}, {layer}/{stored}: expected a plain tensor inside the file; download it again")
    if dataset.shape != shape or dataset.dtype != np.dtype("<f4"):
        raise DataError(
            f"{path}, {layer}/{stored}: expected float32 of shape {shape}, received {dataset.dtype} of shape "
            f"{dataset.shape}; use {source.url}"
        )
    return dataset


def _stored_names(path: Path, group: h5py.Group, layer: str) -> list[str]:
    """Returns the names of a layer's kernel and bias in the file."""
    if "weight_names" not in group.attrs or group.attrs.get_id("weight_names").shape != (2,):
        raise DataError(f"{path}, {layer}: expected weight_names of a kernel and a bias; download it again")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs["weight_names"]]


def _member(group: h5py.Group, name: str) -> h5py.HLObject | None:
    """Follows a relative name through hard links alone: soft and external ones lead elsewhere."""
    found = group
    for step in name.split("/"):
        if not isinstance(found, h5py.Group) or not isinstance(found.get(step, getlink=True), h5py.HardLink):
            return None
        found = found[step]
    return found


def _values(path: Path, name: str, dataset: h5py.Dataset) -> Tensor:
    values: Tensor = dataset[()]
    if not np.isfinite(values).all():
        raise DataError(f"{path}, {name}: expected finite numbers, received others; download it again")
    return values
