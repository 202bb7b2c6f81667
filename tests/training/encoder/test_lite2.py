"""EfficientNet-Lite2: its table against a file of random weights, and its accuracy where the real ones are."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file

from model.errors import DataError
from model.image import read_image
from tests.training.stages import random_lite2
from training.data.photo_cache import PhotoCache, photo_key
from training.encoder.lite2 import PIXELS, cache_answers, load_lite2, resized, tensor_shapes

WEIGHTS = "SHOWTELL_LITE2_WEIGHTS"
"""Environment variable with the path of the real weights."""

SAMPLES = "SHOWTELL_IMAGENET_SAMPLES"
"""Environment variable with the path of a folder of photos called ID_label.JPEG."""

CLASSES = "SHOWTELL_IMAGENET_CLASSES"
"""Environment variable with the path of Keras's index of classes."""


def test_the_table_has_the_parameters_and_layers_of_the_network() -> None:
    shapes = tensor_shapes()
    trained = sum(int(np.prod(shape)) for name, shape in shapes.items() if "running" not in name)
    assert trained == 6_092_072
    assert sum(name.endswith("_depthwise_conv.weight") for name in shapes) == 21
    assert shapes["_blocks.20._project_conv.weight"] == (352, 1248, 1, 1)
    assert shapes["_blocks.0._depthwise_conv.weight"] == (32, 1, 3, 3)
    assert "_blocks.0._expand_conv.weight" not in shapes


def direct(
    values: npt.NDArray[np.float64], kernel: npt.NDArray[np.float32], stride: int, groups: int
) -> npt.NDArray[np.float64]:
    """Convolves (C, H, W) as PyTorch does, padded for 260 pixels whatever the size."""
    size = kernel.shape[-1]
    around = (-(-260 // stride) - 1) * stride + size - 260
    padded = np.pad(values, [(0, 0)] + [(around // 2, around - around // 2)] * 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    if groups == 1:
        return np.asarray(np.einsum("chwij,ocij->ohw", windows, kernel, optimize=True))
    return np.asarray(np.einsum("chwij,cij->chw", windows, kernel[:, 0]))


def test_it_computes_what_the_names_of_the_file_say(lite2: Path) -> None:
    tensors = random_lite2()
    network = load_lite2(lite2)
    image = np.random.default_rng(2).integers(0, 256, (PIXELS, PIXELS, 3), np.uint8)

    def unit(values: Any, convolution: str, norm: str, stride: int = 1, *, linear: bool = False) -> Any:
        kernel = tensors[f"{convolution}.weight"]
        values = direct(values, kernel, stride, 1 if kernel.shape[1] > 1 or len(values) == 1 else len(values))
        mean, variance = (tensors[f"{norm}.running_{part}"][:, None, None] for part in ("mean", "var"))
        scale, bias = (tensors[f"{norm}.{part}"][:, None, None] for part in ("weight", "bias"))
        values = (values - mean) / np.sqrt(variance + 1e-3) * scale + bias
        return values if linear else np.clip(values, 0, 6)

    values = unit((image.transpose(2, 0, 1) - 127.0) / 128.0, "_conv_stem", "_bn0", 2)
    number = 0
    for repeats, stride, expansion in ((1, 1, 1), (3, 2, 6), (3, 2, 6), (4, 2, 6), (4, 1, 6), (5, 2, 6), (1, 1, 6)):
        for repeat in range(repeats):
            block = f"_blocks.{number}."
            inputs = values
            if expansion > 1:
                values = unit(values, f"{block}_expand_conv", f"{block}_bn0")
            values = unit(values, f"{block}_depthwise_conv", f"{block}_bn1", 1 if repeat else stride)
            values = unit(values, f"{block}_project_conv", f"{block}_bn2", linear=True)
            values = values + inputs if repeat else values
            number = number + 1
    features = unit(values, "_conv_head", "_bn1").mean(axis=(1, 2))
    found = network(image[None], training=False)
    assert values.shape[1:] == (8, 8)
    np.testing.assert_allclose(found["features"][0], features, rtol=1e-3, atol=1e-3)
    logits = tensors["_fc.weight"] @ features + tensors["_fc.bias"]
    np.testing.assert_allclose(found["logits"][0], logits, rtol=1e-3, atol=1e-3 * np.abs(logits).max())


def without(name: str) -> dict[str, npt.NDArray[np.float32]]:
    return {key: value for key, value in random_lite2().items() if key != name}


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        (without("_fc.bias"), r"_fc\.bias: expected the shape \(1000,\), found None"),
        (random_lite2() | {"extra": np.zeros(2, np.float32)}, r"extra: expected the shape None, found \(2,\)"),
        (random_lite2() | {"_bn0.bias": np.zeros(7, np.float32)}, r"_bn0\.bias: expected the shape \(32,\)"),
        (random_lite2() | {"_bn0.bias": np.zeros(32, np.float64)}, r"_bn0\.bias: expected finite float32"),
        (random_lite2() | {"_bn0.bias": np.full(32, np.nan, np.float32)}, r"_bn0\.bias: expected finite float32"),
    ],
    ids=["missing", "extra", "shape", "type", "nan"],
)
def test_a_file_that_is_not_the_networks_is_told(tmp_path: Path, tensors: Any, told: str) -> None:
    save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(DataError, match=told):
        load_lite2(tmp_path / "weights.safetensors")


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"{}")
    for name in ("weights.safetensors", "missing.safetensors"):
        with pytest.raises(DataError, match="expected a safetensors file"):
            load_lite2(tmp_path / name)


def test_answers_are_kept_by_the_photos_bytes(lite2: Path, drawn: Path, tmp_path: Path) -> None:
    photos = sorted(drawn.glob("*.jpg"))[:2]
    assert cache_answers(tmp_path / "answers", lite2, photos)
    cache = PhotoCache(tmp_path / "answers")
    network = load_lite2(lite2)
    data = photos[1].read_bytes()
    expected = network(resized(read_image(data).pixels)[None], training=False)
    for name in ("features", "logits"):
        found = cache.read(name, photo_key(data))
        whole = np.asarray(expected[name])[0]
        np.testing.assert_allclose(found, whole, rtol=2e-3, atol=2e-3 * np.abs(whole).max())


@pytest.mark.slow
def test_the_real_weights_name_79_of_100_photos_of_imagenet() -> None:
    missing = [name for name in (WEIGHTS, SAMPLES, CLASSES) if not os.environ.get(name)]
    if missing:
        pytest.skip(f"expected the real weights and photos in {', '.join(missing)}, found none")
    network = load_lite2(Path(os.environ[WEIGHTS]))
    index = json.loads(Path(os.environ[CLASSES]).read_text())
    number = {identifier: int(place) for place, (identifier, _) in index.items()}
    photos = sorted(Path(os.environ[SAMPLES]).glob("*.JPEG"))
    hits = []
    for start in range(0, len(photos), 40):
        chunk = photos[start : start + 40]
        images = np.stack([resized(read_image(photo.read_bytes()).pixels) for photo in chunk])
        guesses = network.predict_on_batch(images)["logits"].argmax(axis=-1)
        hits += [number[photo.name.partition("_")[0]] == guess for photo, guess in zip(chunk, guesses, strict=True)]
    assert len(hits) == 1000
    assert np.mean(hits) >= 0.79
