"""Tensors on disk: each once, and the same ones come back, wherever they lie."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from model.bundle import LITE_ENCODER, Bundle, load_bundle, save_bundle
from model.config import EncoderConfig
from model.encoder import build_encoder
from model.engines.lite import LiteEngine
from model.engines.tensorflow import TensorFlowEngine
from model.errors import BundleError
from model.manifest import MANIFEST, write_manifest
from model.tensors import Int8Kernel, identity_kernel, read_tensors, write_tensors
from training.shipping.convert import convert


def shapes(weights: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in weights.items()}


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_a_rounded_kernel_is_within_half_a_step_and_rounds_to_itself(seed: int, has_identity: bool) -> None:
    kernel = np.random.default_rng(seed).normal(size=(3, 3, 5, 5)).astype(np.float32)
    rounded = Int8Kernel.nearest(kernel, has_identity=has_identity)
    assert (np.abs(rounded.rounded - kernel) <= 0.5001 * rounded.steps).all()
    again = Int8Kernel.nearest(rounded.rounded)
    np.testing.assert_array_equal(again.whole, rounded.whole)
    np.testing.assert_array_equal(rounded.kernel, rounded.rounded + has_identity * identity_kernel(5))


def test_a_kernel_of_zeros_rounds_to_zeros() -> None:
    rounded = Int8Kernel.nearest(np.zeros((3, 3, 4, 4), np.float32), has_identity=True)
    np.testing.assert_array_equal(rounded.kernel, identity_kernel(4))


def test_what_lies_in_another_file_is_read_from_there(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    kernels = {
        "a": Int8Kernel.nearest(random.normal(size=(3, 3, 64, 64)).astype(np.float32), has_identity=True),
        "b": Int8Kernel.nearest(random.normal(size=(300, 200)).astype(np.float32)),
        "identity": Int8Kernel.nearest(np.zeros((3, 3, 64, 64), np.float32), has_identity=True),
        "nowhere": Int8Kernel.nearest(random.normal(size=(300, 200)).astype(np.float32)),
    }
    weights: dict[str, np.ndarray] = {name: kernel.kernel for name, kernel in kernels.items()}
    weights["half"] = random.normal(size=(200, 300)).astype(np.float16)
    weights["float"] = random.normal(size=(3, 3, 60, 20)).astype(np.float32)
    weights["small"] = random.normal(size=(7,)).astype(np.float32)
    content = {
        "encoder.tflite": b"head" + kernels["a"].whole.transpose(3, 0, 1, 2).tobytes() + kernels["b"].whole.T.tobytes(),
        "decoder.tflite": b"no head" + weights["half"].T.tobytes() + weights["float"].transpose(3, 0, 1, 2).tobytes(),
    }
    for name, file in content.items():
        (tmp_path / name).write_bytes(file)
    write_tensors(tmp_path / "weights", weights, kernels, content)
    found = read_tensors(tmp_path / "weights", shapes(weights), content)
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)
    assert (tmp_path / "weights").stat().st_size < weights["nowhere"].nbytes + 4000


PLACE = {"file": "encoder.tflite", "offset": 0, "order": [1, 0], "type": "int8", "identity": False}


@pytest.mark.parametrize(
    "text",
    [
        "no JSON", "[]", "7", "[" * 100_000,
        *(
            json.dumps(PLACE | other)
            for other in (
                {"file": "../encoder.tflite"}, {"file": "other.tflite"}, {"file": 7}, {"file": ["encoder.tflite"]},
                {"offset": -1}, {"offset": 10**6}, {"offset": 10**30}, {"offset": "0"}, {"offset": None},
                {"order": [0]}, {"order": [0, 0]}, {"order": "10"}, {"order": None}, {"order": [1, 2]},
                {"type": "float16"}, {"type": "O"}, {"type": None},
            )
        ),
        *(json.dumps({key: PLACE[key] for key in PLACE if key != left}) for left in ("offset", "order", "identity")),
        json.dumps(PLACE | {"identity": True}),
    ],
)  # fmt: skip
def test_a_place_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "encoder.tflite").write_bytes(bytes(60_000))
    stored: dict[str, Any] = {"a": np.ones(200, np.float32)}
    (tmp_path / "weights").write_bytes(safetensors.numpy.save(stored, {"a": text}))
    with pytest.raises(BundleError, match="weights: a: expected the place of a tensor"):
        read_tensors(tmp_path / "weights", {"a": (300, 200)}, ("encoder.tflite", "decoder.tflite"))


def test_a_place_for_a_tensor_that_the_architecture_lacks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(safetensors.numpy.save({}, {"b": json.dumps(PLACE)}))
    with pytest.raises(BundleError, match="weights: b: expected the place of a tensor"):
        read_tensors(tmp_path / "weights", {"a": (300, 200)}, ())


def test_an_encoder_is_stored_once_and_is_the_same_for_both_engines(toy: Bundle, tmp_path: Path) -> None:
    config = EncoderConfig(
        widths=(0.1, 0.1, 0.15, 0.25, 0.25), fc_units=toy.config.encoder.fc_units, classes=len(toy.classes),
        input_pooling=4, normalization="unit", pooling="average",
    )  # fmt: skip
    encoder = build_encoder(config)
    weights = dict(toy.weights)
    for layer in encoder.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            weights |= {f"encoder/{layer.name}/kernel": kernel, f"encoder/{layer.name}/bias": bias}
    weights["encoder/block5_conv4/kernel"] = weights["encoder/block5_conv4/kernel"] + identity_kernel(128)
    weights["encoder/block4_conv4/kernel"] = identity_kernel(128)
    large = replace(toy, config=replace(toy.config, encoder=config), weights=weights)
    photos = np.random.default_rng(2).integers(0, 256, (8, 224, 224, 3), np.uint8)
    files, kernels = convert(large, photos)
    rounded = replace(large, weights=weights | {name: value.kernel for name, value in kernels.items()})
    save_bundle(tmp_path / "bundle", rounded, files, kernels)
    loaded = load_bundle(tmp_path / "bundle")
    for name, value in rounded.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], value)
    once = (tmp_path / "bundle" / "weights.safetensors").stat().st_size
    save_bundle(tmp_path / "twice", rounded, files)
    assert once < (tmp_path / "twice" / "weights.safetensors").stat().st_size - 3 * 9 * 128 * 128 * 4
    assert kernels["encoder/block5_conv4/kernel"].has_identity
    engine = LiteEngine.of(tmp_path / "bundle", large.config)
    expected = TensorFlowEngine.of(loaded).encode(photos[:3]).features
    scale = float(expected.max())
    np.testing.assert_allclose(engine.encode(photos[:3]).features, expected, atol=0.02 * scale)
    (tmp_path / "bundle" / LITE_ENCODER).write_bytes(files[LITE_ENCODER][:50_000])
    (tmp_path / "bundle" / MANIFEST).unlink()
    write_manifest(tmp_path / "bundle")
    with pytest.raises(BundleError, match="expected the place of a tensor"):
        load_bundle(tmp_path / "bundle")
