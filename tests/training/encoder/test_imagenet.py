"""The official ImageNet file into our encoder: files in that very layout, whole, of another network, and hostile."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
import numpy.typing as npt
import pytest

from model.bundle import weight_shapes
from model.config import EncoderConfig
from model.encoder import build_encoder
from model.errors import ConfigError, DataError
from model.presets import paper
from training.encoder.imagenet import GROWN, IMAGENET_VGG16, IMAGENET_VGG19, grow_imagenet, load_imagenet

pytestmark = pytest.mark.usefixtures("forgetful_keras")

SHAPES = {
    name.removeprefix("encoder/"): shape
    for name, shape in weight_shapes(paper()).items()
    if name.startswith("encoder/")
}
LAYERS = tuple(dict.fromkeys(name.partition("/")[0] for name in SHAPES))


def old_names(layer: str) -> list[str]:
    """Returns the names of the public file, which Keras 1 wrote."""
    return [f"{layer}_W_1:0", f"{layer}_b_1:0"]


def keras_2_names(layer: str) -> list[str]:
    return [f"{layer}/kernel:0", f"{layer}/bias:0"]


def write(
    path: Path,
    values: dict[str, npt.NDArray[np.float32]] | None = None,
    *,
    layers: tuple[str, ...] = LAYERS,
    names: Callable[[str], list[str]] = old_names,
) -> Path:
    """Writes a file in the layout of the public one; tensors without values are zeros and take no room on the disk."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([layer.encode() for layer in ("input_1", *layers)])
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"1.2.2"
        file.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        for layer in layers:
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([name.encode() for name in names(layer)])
            for name, part in zip(names(layer), ("kernel", "bias"), strict=True):
                dataset = group.create_dataset(name, SHAPES[f"{layer}/{part}"], "f4")
                if values is not None:
                    dataset[...] = values[f"{layer}/{part}"]
    return path


@pytest.fixture(scope="module")
def encoder() -> Iterator[keras.Model]:
    """Yields the network of the paper, 575 MB."""
    yield build_encoder(EncoderConfig())
    gc.collect()


def first_kernel(encoder: keras.Model) -> npt.NDArray[np.float32]:
    return np.asarray(keras.ops.convert_to_numpy(encoder.get_layer("block1_conv1").kernel))


@pytest.mark.slow
def test_a_file_in_the_layout_of_the_public_one_gives_the_outputs_of_keras_applications(
    tmp_path: Path, images: npt.NDArray[np.uint8], encoder: keras.Model
) -> None:
    reference = keras.applications.VGG19(weights=None)
    rng = np.random.default_rng(4)
    for variable in reference.trainable_variables:
        if variable.ndim == 1:
            variable.assign(rng.uniform(-0.1, 0.1, variable.shape))
    both = keras.Model(reference.input, [reference.get_layer("fc2").output, reference.output])
    inputs = keras.applications.vgg19.preprocess_input(images[:1].astype(np.float32))
    features, probabilities = (keras.ops.convert_to_numpy(value) for value in both(inputs, training=False))
    values = {
        f"{layer}/{part}": keras.ops.convert_to_numpy(getattr(reference.get_layer(layer), part))
        for layer in LAYERS
        for part in ("kernel", "bias")
    }
    path = tmp_path / "vgg19.h5"
    try:
        write(path, values)
        load_imagenet(path, encoder)
    finally:
        path.unlink(missing_ok=True)  # 575 MB
    received = encoder(images[:1], training=False)
    np.testing.assert_allclose(received["features"], features, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(keras.ops.softmax(received["logits"]), probabilities, rtol=1e-4)
    assert np.ptp(probabilities) > 1e-4


@pytest.mark.slow
def test_another_number_of_classes_keeps_its_fresh_predictions_and_the_names_of_keras_2_are_known(
    tmp_path: Path,
) -> None:
    encoder = build_encoder(EncoderConfig(classes=7))
    fresh = [keras.ops.convert_to_numpy(value) for value in encoder.get_layer("predictions").weights]
    load_imagenet(write(tmp_path / "zeros.h5", names=keras_2_names), encoder)
    for value, variable in zip(fresh, encoder.get_layer("predictions").weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)
    assert not first_kernel(encoder).any()
    assert fresh[0].any()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"normalization": "unit"}, "normalization: expected caffe, received unit"),
        ({"widths": (0.5,) * 5}, r"expected the shape \(64,\), received the shape \(32,\)"),
        ({"fc_units": 8}, r"fc1/bias: expected the shape \(4096,\), received the shape \(8,\)"),
        ({"input_pooling": 4}, "input_pool"),
        ({"residual": True}, "block1_conv2_add"),
        ({"batch_norm": True}, "block1_conv1_bn/beta: expected no such tensor"),
        ({"pooling": "average"}, r"fc1/kernel: expected the shape \(25088, 4096\), received the shape \(512, 4096\)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_encoder_of_another_architecture_is_refused_before_the_file_is_opened(
    options: dict[str, Any], told: str
) -> None:
    small = {} if options.keys() & {"pooling", "fc_units"} else {"pooling": "average"}
    with pytest.raises(ConfigError, match=told):
        load_imagenet(Path("not_there.h5"), build_encoder(EncoderConfig(**({"classes": 3} | small | options))))


def text_file(path: Path) -> None:
    path.write_text("<html>404</html>")


def without_top(path: Path) -> None:
    write(path, layers=LAYERS[:16])


def without_a_convolution(path: Path) -> None:
    write(path, layers=tuple(layer for layer in LAYERS if layer != "block3_conv4"))


def changed(path: Path, layer: str, name: str, replacement: Callable[[h5py.Group, str], Any]) -> None:
    write(path)
    with h5py.File(path, "a") as file:
        del file[layer][name]
        replacement(file[layer], name)


def other_shape(path: Path) -> None:
    changed(path, "fc2", "fc2_W_1:0", lambda group, name: group.create_dataset(name, (4096, 1 << 40), "f4"))


def other_type(path: Path) -> None:
    changed(path, "fc2", "fc2_b_1:0", lambda group, name: group.create_dataset(name, (4096,), "f8"))


def not_a_number(path: Path) -> None:
    def put(group: h5py.Group, name: str) -> None:
        group.create_dataset(name, data=np.full(1000, np.nan, np.float32))

    changed(path, "predictions", "predictions_b_1:0", put)


def compressed(path: Path) -> None:
    def put(group: h5py.Group, name: str) -> None:
        group.create_dataset(name, (4096,), "f4", compression="gzip")

    changed(path, "fc1", "fc1_b_1:0", put)


def external_values(path: Path) -> None:
    def put(group: h5py.Group, name: str) -> None:
        group.create_dataset(name, (4096,), "f4", external=[("/etc/passwd", 0, 4096 * 4)])

    changed(path, "fc1", "fc1_b_1:0", put)


def virtual_values(path: Path) -> None:
    def put(group: h5py.Group, name: str) -> None:
        layout = h5py.VirtualLayout((4096,), "f4")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4096,))
        group.create_virtual_dataset(name, layout)

    changed(path, "fc1", "fc1_b_1:0", put)


def external_link(path: Path) -> None:
    def put(group: h5py.Group, name: str) -> None:
        group[name] = h5py.ExternalLink("other.h5", "/x")

    changed(path, "fc1", "fc1_b_1:0", put)


def soft_link(path: Path) -> None:
    def put(group: h5py.Group, name: str) -> None:
        group[name] = h5py.SoftLink("/fc2/fc2_b_1:0")

    changed(path, "fc1", "fc1_b_1:0", put)


def linked_layer(path: Path) -> None:
    write(path, layers=LAYERS[1:])
    with h5py.File(path, "a") as file:
        file["block1_conv1"] = h5py.SoftLink("/block1_conv2")


def renamed(path: Path, weight_names: list[bytes] | None) -> None:
    write(path)
    with h5py.File(path, "a") as file:
        del file["fc1"].attrs["weight_names"]
        if weight_names is not None:
            file["fc1"].attrs["weight_names"] = np.array(weight_names)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: path.with_name("other.h5").touch(), "No such file"),
        (text_file, "download it again"),
        (lambda path: path.write_bytes(write(path).read_bytes()[:5000]), "download it again"),
        (without_top, r"layer fc1, found none; this is the file without the fully connected layers \(notop\)"),
        (without_a_convolution, "layer block3_conv4, found none"),
        (other_shape, r"fc2/fc2_W_1:0: expected float32 of shape \(4096, 4096\), received float32 of shape \(4096, 1"),
        (other_type, r"fc2/fc2_b_1:0: expected float32 of shape \(4096,\), received float64"),
        (not_a_number, "predictions/bias: expected finite numbers"),
        (compressed, "fc1_b_1:0: expected a plain tensor"),
        (external_values, "fc1_b_1:0: expected a plain tensor"),
        (virtual_values, "fc1_b_1:0: expected a plain tensor"),
        (external_link, "fc1_b_1:0: expected a plain tensor"),
        (soft_link, "fc1_b_1:0: expected a plain tensor"),
        (linked_layer, "layer block1_conv1, found none"),
        (lambda path: renamed(path, None), "fc1: expected weight_names"),
        (lambda path: renamed(path, [b"fc1_W_1:0"]), "fc1: expected weight_names"),
        (lambda path: renamed(path, [b"fc1_b_1:0", b"fc1_W_1:0"]), "expected the name of a kernel"),
        (lambda path: renamed(path, [b"../fc2/fc2_W_1:0", b"fc1_b_1:0"]), "expected the name of a kernel"),
        (lambda path: renamed(path, [b"/fc1/kernel:0", b"fc1_b_1:0"]), "fc1//fc1/kernel:0: expected a plain tensor"),
    ],
    ids=lambda value: "" if isinstance(value, str) else value.__name__,
)
def test_a_file_that_is_not_the_public_one_changes_nothing(
    tmp_path: Path, encoder: keras.Model, damage: Callable[[Path], object], told: str
) -> None:
    path = tmp_path / "weights.h5"
    damage(path)
    before = first_kernel(encoder)
    with pytest.raises(DataError, match=told):
        load_imagenet(path, encoder)
    np.testing.assert_array_equal(first_kernel(encoder), before)
    assert before.any()


VGG16 = tuple(layer for layer in LAYERS if layer.startswith("block") and layer not in GROWN)


@pytest.fixture(scope="module")
def grown() -> keras.Model:
    """Returns a full-size encoder without much of a top."""
    return build_encoder(EncoderConfig(fc_units=4, classes=3, pooling="average"))


def test_a_grown_encoder_sees_what_vgg_16_of_keras_applications_sees(
    tmp_path: Path, images: npt.NDArray[np.uint8], grown: keras.Model
) -> None:
    reference = keras.applications.VGG16(weights=None, include_top=False, input_shape=(224, 224, 3))
    rng = np.random.default_rng(4)
    for variable in reference.trainable_variables:
        if variable.ndim == 1:
            variable.assign(rng.uniform(-0.1, 0.1, variable.shape))
    values = {
        f"{layer}/{part}": keras.ops.convert_to_numpy(getattr(reference.get_layer(layer), part))
        for layer in VGG16
        for part in ("kernel", "bias")
    }
    grow_imagenet(write(tmp_path / "vgg16.h5", values, layers=VGG16), grown)
    inputs = keras.applications.vgg16.preprocess_input(images[:1].astype(np.float32))
    for name in ("block3_pool", "block4_pool", "block5_pool"):
        expected = keras.Model(reference.input, reference.get_layer(name).output)(inputs)
        received = keras.Model(grown.input, grown.get_layer(name).output)(images[:1])
        scale = float(np.abs(expected).max())
        assert scale > 0.1
        np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5 * scale)


def test_the_file_with_the_top_grows_too(tmp_path: Path, grown: keras.Model) -> None:
    top = [keras.ops.convert_to_numpy(value) for value in grown.get_layer("fc1").weights]
    grow_imagenet(write(tmp_path / "full.h5", layers=(*VGG16, "fc1", "fc2", "predictions"), names=keras_2_names), grown)
    assert not first_kernel(grown).any()
    for value, variable in zip(top, grown.get_layer("fc1").weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: path.with_name("other.h5").touch(), "VGG-16 weights from .*No such file"),
        (write, "expected weights of VGG-16, found the layer block3_conv4 of another network; .*--imagenet"),
        (lambda path: write(path, layers=VGG16[1:]), "layer block1_conv1, found none"),
        (lambda path: write(path, layers=VGG16[:-1]), "layer block5_conv3, found none"),
    ],
    ids=["missing", "vgg19", "first", "last"],
)
def test_a_file_that_is_not_vgg_16_grows_nothing(
    tmp_path: Path, grown: keras.Model, damage: Callable[[Path], object], told: str
) -> None:
    grown.get_layer("block1_conv1").kernel.assign(np.ones((3, 3, 3, 64)))
    damage(tmp_path / "weights.h5")
    with pytest.raises(DataError, match=told):
        grow_imagenet(tmp_path / "weights.h5", grown)
    assert first_kernel(grown).all()


@pytest.mark.parametrize(
    "options", [{"normalization": "unit"}, {"widths": (0.5,) * 5}, {"batch_norm": True}, {"input_pooling": 2}]
)
def test_only_plain_convolutions_of_full_width_grow(options: dict[str, Any]) -> None:
    small: dict[str, Any] = {"fc_units": 2, "classes": 2, "pooling": "average"}
    with pytest.raises(ConfigError, match="encoder"):
        grow_imagenet(Path("not_there.h5"), build_encoder(EncoderConfig(**(small | options))))


def test_the_public_file_is_named_with_its_checksum() -> None:
    assert IMAGENET_VGG16.url == keras.src.applications.vgg16.WEIGHTS_PATH_NO_TOP
    assert IMAGENET_VGG16.checksum == "md5:6d6bbae143d832006294945121d1f1fc"
    assert IMAGENET_VGG19.url == keras.src.applications.vgg19.WEIGHTS_PATH
    assert IMAGENET_VGG19.checksum == "md5:cbe5617147190e668d6c5d5026f83318"
