"""The encoder: VGG-19's numbers, its options, and the folding of what only training needs."""

import math
from pathlib import Path
from typing import Any, Literal

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
import numpy.typing as npt
import pytest

from model.bundle import weight_shapes
from model.config import FEATURES, CaptionerConfig, DecoderConfig, EncoderConfig, SearchConfig
from model.decoder import Decoder
from model.encoder import CAFFE_MEAN_BGR, InputNormalization, build_encoder, fold
from model.presets import paper
from model.weights import assign_weights, bundle_weights

Images = npt.NDArray[np.uint8]
CONVOLUTIONS = 20_024_384
"""Parameters of Keras Applications' VGG19 without its fully connected layers."""

WITH_TOP = 143_667_240
"""Parameters of Keras Applications' VGG19 with its fully connected layers."""


def tiny(**options: Any) -> EncoderConfig:
    """Returns a configuration that is built and run in a moment."""
    small: dict[str, Any] = {"widths": (0.05,) * 5, "fc_units": 16, "classes": 5, "input_pooling": 4}
    return EncoderConfig(**(small | options))


def outputs(encoder: keras.Model, images: Images) -> dict[str, npt.NDArray[np.float32]]:
    return {name: keras.ops.convert_to_numpy(value) for name, value in encoder(images, training=False).items()}


def output_of(encoder: keras.Model, layer: str, images: Images) -> npt.NDArray[np.float32]:
    part = keras.Model(encoder.input, encoder.get_layer(layer).output)
    return np.asarray(keras.ops.convert_to_numpy(part(images, training=False)))


def disturb(encoder: keras.Model) -> None:
    """Gives every weight, and what batch norm learnt of its inputs, values that are not those of the start."""
    rng = np.random.default_rng(9)
    for variable in encoder.variables:
        values = keras.ops.convert_to_numpy(variable)
        low, high = (0.5, 1.5) if "gamma" in variable.path or "variance" in variable.path else (-0.3, 0.3)
        if variable.ndim == 1:
            variable.assign(rng.uniform(low, high, values.shape))


def test_the_full_size_has_the_parameters_of_keras_applications() -> None:
    shapes = {n: s for n, s in weight_shapes(paper()).items() if n.startswith("encoder/")}
    assert sum(math.prod(shape) for shape in shapes.values()) == WITH_TOP
    assert sum(math.prod(shape) for name, shape in shapes.items() if "block" in name) == CONVOLUTIONS
    assert sum("kernel" in name for name in shapes) == 16 + 3


@pytest.mark.parametrize(
    "encoder",
    [
        tiny(),
        tiny(widths=(0.03,) * 5, input_pooling=7, classes=3),
        tiny(input_pooling=2, pooling="average", dropout=0.0),
        tiny(input_pooling=1, batch_norm=True, residual=True),
        tiny(widths=(0.047,) * 5, pooling="average", batch_norm=True, residual=True),
    ],
    ids=["flatten", "pooling_7", "average", "folded", "three_channels"],
)
@pytest.mark.parametrize(("layers", "project"), [(1, True), (3, False)])
def test_a_built_network_has_the_weights_that_a_bundle_expects(
    encoder: EncoderConfig, layers: int, project: bool
) -> None:
    decoder = DecoderConfig(vocabulary_size=9, embedding_units=16, units=6, layers=layers, project_features=project)
    config = CaptionerConfig(name="n", version="1", encoder=encoder, decoder=decoder, search=SearchConfig())
    weights = bundle_weights(build_encoder(encoder), Decoder(decoder, encoder.fc_units))
    assert {name: value.shape for name, value in weights.items()} == weight_shapes(config)
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float16)}


@pytest.mark.slow
def test_the_same_weights_file_gives_the_outputs_of_keras_applications(tmp_path: Path, images: Images) -> None:
    reference = keras.applications.VGG19(weights=None)
    without_top = [layer for layer in reference.layers if layer.name.startswith("block")]
    assert sum(layer.count_params() for layer in without_top) == CONVOLUTIONS
    rng = np.random.default_rng(4)
    for variable in reference.trainable_variables:
        if variable.ndim == 1:
            variable.assign(rng.uniform(-0.1, 0.1, variable.shape))
    probabilities = keras.Model(reference.input, [reference.get_layer("fc2").output, reference.output])
    inputs = keras.applications.vgg19.preprocess_input(images[:1].astype(np.float32))
    expected = [keras.ops.convert_to_numpy(value) for value in probabilities(inputs, training=False)]
    names = [layer.name for layer in reference.layers if layer.weights or layer.name.endswith("_pool")]
    path = tmp_path / "vgg19.weights.h5"
    try:
        reference.save_weights(path)
        del reference, probabilities, without_top
        encoder = build_encoder(EncoderConfig())
        read_into(encoder, path)
    finally:
        path.unlink(missing_ok=True)  # 575 MB
    assert encoder.count_params() == WITH_TOP
    assert [layer.name for layer in encoder.layers if layer.weights or layer.name.endswith("_pool")] == names
    received = outputs(encoder, images[:1])
    np.testing.assert_allclose(received["features"], expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(keras.ops.softmax(received["logits"]), expected[1], rtol=1e-4)
    assert np.ptp(expected[1]) > 1e-4


def read_into(encoder: keras.Model, path: Path) -> None:
    """Reads a Keras 3 weights file as plain tensors, by the names of the layers."""
    with h5py.File(path) as file:
        for group in file["layers"].values():
            variables = group["vars"]
            if len(variables):
                kernel, bias = encoder.get_layer(variables.attrs["name"]).weights
                kernel.assign(variables["0"][()])
                bias.assign(variables["1"][()])


@pytest.mark.parametrize(
    ("pooling", "batch_norm", "residual", "width"),
    [
        ("flatten", True, True, 0.05),
        ("average", True, True, 0.047),  # three channels: the first convolution has an identity branch too
        ("flatten", True, False, 0.05),
        ("average", False, True, 0.05),
    ],
)
def test_folded_weights_give_the_same_outputs_in_the_plain_network(
    images: Images, pooling: Literal["flatten", "average"], batch_norm: bool, residual: bool, width: float
) -> None:
    config = tiny(pooling=pooling, batch_norm=batch_norm, residual=residual, widths=(width,) * 5, normalization="unit")
    trained = build_encoder(config)
    disturb(trained)
    plain = build_encoder(tiny(pooling=pooling, widths=(width,) * 5, normalization="unit"))
    before = outputs(plain, images)
    assign_weights(plain, {f"encoder/{name}": value for name, value in fold(trained).items()}, "encoder")
    expected = outputs(trained, images)
    received = outputs(plain, images)
    for name in ("features", "logits"):
        scale = float(np.abs(expected[name]).max())
        assert np.abs(before[name] - expected[name]).max() > 0.01 * scale
        np.testing.assert_allclose(received[name], expected[name], rtol=1e-4, atol=1e-4 * scale)


def test_folding_a_plain_network_changes_nothing() -> None:
    encoder = build_encoder(tiny())
    folded = list(fold(encoder).values())
    assert len(folded) == len(encoder.weights)
    for value, variable in zip(folded, encoder.weights, strict=True):
        np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(variable))


def test_unit_normalization_maps_bytes_to_one_around_zero() -> None:
    values = InputNormalization("unit")(np.array([[[[0, 51, 255]]]], np.uint8))
    np.testing.assert_allclose(values, [[[[-1.0, -0.6, 1.0]]]], atol=1e-6)


def test_caffe_normalization_is_blue_green_red_without_the_mean_of_imagenet(images: Images) -> None:
    assert CAFFE_MEAN_BGR == (103.939, 116.779, 123.68)
    values = InputNormalization("caffe")(np.array([[[[10, 20, 30]]]], np.uint8))
    np.testing.assert_allclose(values, [[[[30 - 103.939, 20 - 116.779, 10 - 123.68]]]], atol=1e-4)
    expected = keras.applications.vgg19.preprocess_input(images.astype(np.float32))
    np.testing.assert_allclose(InputNormalization("caffe")(images), expected, atol=1e-4)


@pytest.mark.parametrize("pooling", [1, 2, 4, 7])
def test_input_pooling_shows_the_convolutions_the_mean_of_each_tile(images: Images, pooling: int) -> None:
    encoder = build_encoder(tiny(input_pooling=pooling, normalization="unit"))
    fine = np.random.default_rng(6).integers(0, 256, images.shape, np.uint8)
    side = 224 // pooling
    seen = encoder.get_layer("block1_conv1").input
    part = keras.Model(encoder.input, seen)
    tiles = fine.reshape(4, side, pooling, side, pooling, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(part(fine), tiles / 127.5 - 1, atol=1e-5)


@pytest.mark.parametrize("pooling", ["flatten", "average"])
def test_the_fully_connected_layers_read_the_last_map_whole_or_its_mean(
    images: Images, pooling: Literal["flatten", "average"]
) -> None:
    encoder = build_encoder(tiny(pooling=pooling))
    disturb(encoder)
    last_map = output_of(encoder, "block5_pool", images)
    read = last_map.mean(axis=(1, 2)) if pooling == "average" else last_map.reshape(len(images), -1)
    kernel, bias = (keras.ops.convert_to_numpy(value) for value in encoder.get_layer("fc1").weights)
    expected = np.maximum(read @ kernel + bias, 0)
    np.testing.assert_allclose(output_of(encoder, "fc1_relu", images), expected, rtol=1e-4, atol=1e-4)


def test_features_are_the_second_fully_connected_layer_after_its_relu(images: Images) -> None:
    encoder = build_encoder(tiny())
    disturb(encoder)
    features = outputs(encoder, images)["features"]
    assert (features.shape, features.dtype.name) == ((4, 16), "float32")
    np.testing.assert_array_equal(features, output_of(encoder, "fc2_relu", images))
    np.testing.assert_array_equal(features, np.maximum(output_of(encoder, "fc2", images), 0))
    assert (features == 0).any()
    assert (features > 0).any()


@pytest.mark.parametrize("widths", [(0.03,) * 5, (0.125, 0.03, 0.02, 0.01, 0.05)])
def test_widths_scale_the_channels_of_the_convolutions_of_each_block(widths: tuple[float, ...]) -> None:
    encoder = build_encoder(tiny(widths=widths))
    channels = {
        f"block{i}": max(1, round(c * width))
        for i, (c, width) in enumerate(zip((64, 128, 256, 512, 512), widths, strict=True), 1)
    }
    convolutions = [layer for layer in encoder.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 16
    assert all(layer.filters == channels[layer.name.split("_")[0]] for layer in convolutions)
    assert all((layer.kernel_size, layer.padding) == ((3, 3), "same") for layer in convolutions)


def test_dropout_acts_while_training_alone(images: Images) -> None:
    encoder = build_encoder(tiny(dropout=0.5))
    disturb(encoder)
    served = outputs(encoder, images)
    np.testing.assert_array_equal(served["logits"], outputs(encoder, images)["logits"])
    trained = encoder(images, training=True)
    assert np.abs(trained["logits"] - served["logits"]).max() > 1e-3


@pytest.mark.parametrize("input_pooling", [1, 2])
def test_the_feature_is_what_the_configuration_names(images: Images, input_pooling: int) -> None:
    found = {}
    for name in FEATURES:
        config = tiny(input_pooling=input_pooling, pooling="average", features=name)
        encoder = build_encoder(config)
        for index, variable in enumerate(encoder.trainable_variables):
            variable.assign(np.random.default_rng(index).normal(0, 0.2, variable.shape))
        found[name] = outputs(encoder, images)["features"]
        assert found[name].shape == (len(images), config.feature_units)
        maps = output_of(encoder, "block5_pool", images)
    np.testing.assert_allclose(found["average"], maps.mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["average_max"][:, maps.shape[-1] :], maps.max(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found["average_fc2"], np.concatenate([found["average"], found["fc2"]], 1), rtol=1e-5)
    half = -(-maps.shape[1] // 2)
    quarters = [
        maps[:, y, x].mean(axis=(1, 2))
        for y in (slice(half), slice(-half, None))
        for x in (slice(half), slice(-half, None))
    ]
    np.testing.assert_allclose(found["grid"], np.concatenate(quarters, axis=1), rtol=1e-4, atol=1e-6)
