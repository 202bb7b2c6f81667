"""EfficientNet-Lite2, the teacher of a full-size encoder. Keras 3 alone; its weights come from a safetensors file."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import safetensors
from keras import layers
from PIL import Image

from model.errors import DataError
from training.data.photo_cache import fill
from training.provenance import key_of

PIXELS = 260
"""Height and width of its images."""

FEATURES = 1280
CLASSES = 1000
_STEM = 32
_EPSILON = 1e-3
_RELU6 = 6.0

Floats = npt.NDArray[np.float32]


class Stage(NamedTuple):
    """A row of inverted residual blocks.

    Attributes:
        repeats: Blocks; the first one has the stride.
        kernel: Height and width of the depthwise kernels.
        stride: Step of the first block's depthwise convolution.
        expansion: Factor on the channels between the two 1x1 convolutions of a block.
        channels: Output channels.
    """

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(3, 3, 2, 6, 24),
    Stage(3, 5, 2, 6, 48),
    Stage(4, 3, 2, 6, 88),
    Stage(4, 5, 1, 6, 120),
    Stage(5, 5, 2, 6, 208),
    Stage(1, 3, 1, 6, 352),
)
"""EfficientNet-B0's rows, 1.1 times as wide and 1.2 times as deep; stem, head, first and last row are unchanged."""


class _Layer(NamedTuple):
    """A convolution and its batch norm, by their names in the file, and the shape of the kernel."""

    convolution: str
    norm: str
    shape: tuple[int, int, int, int]


def load_lite2(path: Path) -> keras.Model:
    """Builds EfficientNet-Lite2 and loads its ImageNet weights, batch norms multiplied into the kernels.

    Args:
        path: A safetensors file with the names of the PyTorch port.

    Returns:
        A frozen model from images (B, 260, 260, 3), uint8 RGB, as `resized` gives them, to `features` (B, 1280), at
        least 0, and `logits` (B, 1000).

    Raises:
        DataError: The file is missing, damaged, or holds other tensors.

    Source:
        Tan & Le 2019 (arXiv:1905.11946) without squeeze and excitation and with ReLU6 (TensorFlow's EfficientNet-Lite).
        Padding is that of the port: what SAME padding would be at 260 pixels, at every stride.
    """
    weights = _read(path)
    images = keras.Input((PIXELS, PIXELS, 3), dtype="uint8")
    values = layers.Rescaling(1 / 128, offset=-127 / 128)(images)
    table = iter(_layers())
    values = _convolution(values, next(table), weights, stride=2)
    for stage in STAGES:
        for repeat in range(stage.repeats):
            values = _block(values, stage, table, weights, stride=1 if repeat else stage.stride)
    values = _convolution(values, next(table), weights)
    features = layers.GlobalAveragePooling2D(dtype="float32", name="features")(values)
    classifier = layers.Dense(CLASSES, dtype="float32", name="logits")
    network = keras.Model(images, {"features": features, "logits": classifier(features)}, name="efficientnet_lite2")
    network.classifier_weights = [weights["_fc.weight"].T, weights["_fc.bias"]]
    classifier.set_weights(network.classifier_weights)
    network.trainable = False
    return network


def cache_answers(directory: Path, weights: Path, paths: Sequence[Path]) -> bool:
    """Computes the network's answers to photos where they are missing; a mirror image shares those of its photo.

    Args:
        directory: Where `features` (1280,) and `logits` (1000,) go; see `training.data.photo_cache.fill`.
        weights: The network's file.
        paths: Photos.

    Returns:
        Whether all answers are there; False after a requested stop.

    Raises:
        DataError: A photo or the file cannot be read, or the directory holds another network's answers.
    """
    network = load_lite2(weights)
    shapes = {"features": (FEATURES,), "logits": (CLASSES,)}

    def answer(images: npt.NDArray[np.uint8]) -> Mapping[str, npt.NDArray[Any]]:
        found = network.predict_on_batch(np.stack([resized(image) for image in images]))
        return {name: np.asarray(values, np.float32) for name, values in found.items()}

    return fill(directory, key_of(weights), shapes, answer, paths, ("whole",), batch_size=32)


def resized(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Stretches one image (H, W, 3) to the network's input size, (260, 260, 3), bicubic."""
    return np.asarray(Image.fromarray(pixels).resize((PIXELS, PIXELS), Image.Resampling.BICUBIC))


def _layers() -> Iterator[_Layer]:
    """Yields the convolutions in the order of the computation."""
    yield _Layer("_conv_stem", "_bn0", (_STEM, 3, 3, 3))
    inputs = _STEM
    number = 0
    for stage in STAGES:
        for _ in range(stage.repeats):
            block = f"_blocks.{number}."
            wide = inputs * stage.expansion
            if stage.expansion > 1:
                yield _Layer(f"{block}_expand_conv", f"{block}_bn0", (wide, inputs, 1, 1))
            yield _Layer(f"{block}_depthwise_conv", f"{block}_bn1", (wide, 1, stage.kernel, stage.kernel))
            yield _Layer(f"{block}_project_conv", f"{block}_bn2", (stage.channels, wide, 1, 1))
            inputs = stage.channels
            number = number + 1
    yield _Layer("_conv_head", "_bn1", (FEATURES, inputs, 1, 1))


def _block(values: Any, stage: Stage, table: Iterator[_Layer], weights: Mapping[str, Floats], *, stride: int) -> Any:
    """Applies an inverted residual block: expansion, depthwise convolution, projection, skip connection."""
    inputs = values
    if stage.expansion > 1:
        values = _convolution(values, next(table), weights)
    values = _convolution(values, next(table), weights, stride=stride)
    values = _convolution(values, next(table), weights, linear=True)
    return layers.Add()([values, inputs]) if inputs.shape == values.shape else values


def _convolution(
    values: Any, entry: _Layer, weights: Mapping[str, Floats], *, stride: int = 1, linear: bool = False
) -> Any:
    size = entry.shape[-1]
    if size > 1:
        around = (-(-PIXELS // stride) - 1) * stride + size - PIXELS
        values = layers.ZeroPadding2D(((around // 2, around - around // 2),) * 2)(values)
    depthwise = entry.shape[1] == 1
    name = entry.convolution.strip("_").replace("._", "_").replace(".", "_")
    if depthwise:
        layer = layers.DepthwiseConv2D(size, strides=stride, name=name)
    else:
        layer = layers.Conv2D(entry.shape[0], size, strides=stride, name=name)
    values = layer(values)
    scale, bias = _folded(entry.norm, weights)
    kernel = (weights[f"{entry.convolution}.weight"] * scale[:, None, None, None]).transpose(2, 3, 1, 0)
    layer.set_weights([kernel.transpose(0, 1, 3, 2) if depthwise else kernel, bias])
    return values if linear else layers.ReLU(_RELU6)(values)


def _folded(norm: str, weights: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    """Returns the scale and the shift of a batch norm, (channels,) each."""
    scale = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + _EPSILON)
    return scale, weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale


def tensor_shapes() -> dict[str, tuple[int, ...]]:
    """Returns the name and shape of every tensor of the file."""
    shapes: dict[str, tuple[int, ...]] = {"_fc.weight": (CLASSES, FEATURES), "_fc.bias": (CLASSES,)}
    for entry in _layers():
        shapes[f"{entry.convolution}.weight"] = entry.shape
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{entry.norm}.{part}"] = entry.shape[:1]
    return shapes


def _read(path: Path) -> dict[str, Floats]:
    """Reads the file's tensors after checking the name, shape and type of all, and that every number is finite."""
    expected = tensor_shapes()
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            strange = next((name for name in sorted(expected) if found.get(name) != expected[name]), None)
            if strange is not None or found.keys() != expected.keys():
                name = strange if strange is not None else min(found.keys() - expected.keys())
                raise DataError(
                    f"{path}: expected the tensors of EfficientNet-Lite2; {name}: expected the shape "
                    f"{expected.get(name)}, found {found.get(name)}; give the file of that network"
                )
            weights = {name: file.get_tensor(name) for name in expected}
    except (safetensors.SafetensorError, OSError) as error:
        raise DataError(f"{path}: expected a safetensors file, received: {error}; get the file again") from error
    for name, value in weights.items():
        if value.dtype != np.float32 or not np.isfinite(value).all():
            raise DataError(f"{path}: {name}: expected finite float32 numbers, found others; get the file again")
    return weights
