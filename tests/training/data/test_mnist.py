import gzip
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model.errors import DataError
from model.image import read_image
from training.data.labelled import read_mnist

Arrays = Mapping[str, npt.NDArray[np.uint8]]

IDX = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


@pytest.fixture
def digits() -> Arrays:
    random = np.random.default_rng(5)
    arrays = {}
    for split, count in (("train", 12), ("test", 5)):
        arrays[f"x_{split}"] = random.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"y_{split}"] = random.integers(0, 10, count, np.uint8)
    return arrays


def idx(array: npt.NDArray[np.uint8]) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.tobytes()


def save(root: Path, arrays: Arrays, form: str) -> Path:
    if form == "npz":
        np.savez_compressed(root / "mnist.npz", allow_pickle=False, **arrays)
        return root
    for name, array in arrays.items():
        if form == "npy":
            np.save(root / f"{name}.npy", array)
            continue
        file = IDX[name].replace("-idx", ".idx") if "dot" in form else IDX[name]
        content = gzip.compress(idx(array)) if "gz" in form else idx(array)
        (root / (f"{file}.gz" if "gz" in form else file)).write_bytes(content)
    return root


@pytest.mark.parametrize("form", ["npy", "npz", "idx", "idx gz", "idx dot", "idx dot gz"])
def test_every_form_gives_the_same_digits_as_png(tmp_path: Path, digits: Arrays, form: str) -> None:
    found = read_mnist(save(tmp_path, digits, form))
    assert [name.label for name in found.classes] == list("0123456789")
    assert len(found.images) == 17
    for image in found.images:
        part, row = image.name.split("/")
        assert image.split == {"train": "train", "test": "dev"}[part]
        assert image.label == digits[f"y_{part}"][int(row)]
        opened = Image.open(io.BytesIO(image.read_bytes()))
        assert (opened.format, opened.mode) == ("PNG", "L")
        assert np.array_equal(np.asarray(opened), digits[f"x_{part}"][int(row)])
    pixels = read_image(found.images[0].read_bytes()).pixels
    assert pixels.shape == (224, 224, 3)
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_the_npz_may_be_named_itself(tmp_path: Path, digits: Arrays) -> None:
    save(tmp_path, digits, "npz")
    assert len(read_mnist(tmp_path / "mnist.npz").images) == 17


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("x_train", b"", "expected an idx file that starts with 00000803, received $"),
        ("x_train", b"\0\0\x08\x01" + bytes(40), "starts with 00000803, received 00000801"),
        ("x_test", b"\0\0\x08\x03\0\0", "expected 16 bytes"),
        ("x_test", idx(np.zeros((5, 28, 28), np.uint8))[:-1], "expected 3936 bytes .* received 3935"),
        ("x_test", idx(np.zeros((5, 28, 28), np.uint8)) + b"x", "expected 3936 bytes .* received 3937"),
        (
            "x_test",
            idx(np.zeros((5, 32, 32), np.uint8)),
            r"expected images of shape \(N, 28, 28\).* received \(5, 32, 32\)",
        ),
        ("y_test", idx(np.zeros(4, np.uint8)), r"expected 5 integer labels.* received shape \(4,\)"),
        ("y_test", idx(np.array([0, 1, 10, 2, 3], np.uint8)), "expected labels from 0 to 9, received 10 in place 2"),
    ],
)
def test_a_malformed_idx_file_is_named(tmp_path: Path, digits: Arrays, name: str, content: bytes, named: str) -> None:
    (save(tmp_path, digits, "idx") / IDX[name]).write_bytes(content)
    with pytest.raises(DataError, match=rf"{IDX[name]}: .*{named}"):
        read_mnist(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "not gzip"])
def test_a_damaged_gz_file_is_named(tmp_path: Path, digits: Arrays, damage: str) -> None:
    file = save(tmp_path, digits, "idx gz") / f"{IDX['x_test']}.gz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    damaged = {"cut": file.read_bytes()[:-9], "flipped": bytes(content), "not gzip": b"hello"}
    file.write_bytes(damaged[damage])
    with pytest.raises(DataError, match=rf"{file.name}: expected .* copy the file again"):
        read_mnist(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\0", b"PK\3\4 half a zip"])
@pytest.mark.parametrize(("form", "name"), [("npy", "y_train.npy"), ("npz", "mnist.npz")])
def test_a_damaged_array_file_is_named(tmp_path: Path, digits: Arrays, form: str, name: str, content: bytes) -> None:
    (save(tmp_path, digits, form) / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: expected the whole array"):
        read_mnist(tmp_path)


def test_an_npz_without_an_array_names_it(tmp_path: Path, digits: Arrays) -> None:
    save(tmp_path, {name: digits[name] for name in ("x_train", "y_train", "x_test")}, "npz")
    with pytest.raises(DataError, match=r"mnist.npz: expected the whole array y_test"):
        read_mnist(tmp_path)


def test_a_pickle_is_never_opened(tmp_path: Path, digits: Arrays) -> None:
    np.save(save(tmp_path, digits, "npy") / "y_train.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"y_train.npy: .*"):
        read_mnist(tmp_path)


def test_labels_that_are_not_whole_numbers_are_refused(tmp_path: Path, digits: Arrays) -> None:
    np.save(save(tmp_path, digits, "npy") / "y_train.npy", digits["y_train"] / 2)
    with pytest.raises(DataError, match=r"y_train.npy: expected 12 integer labels.* float64"):
        read_mnist(tmp_path)


def test_a_directory_without_mnist_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected x_train.npy, mnist.npz or train-images-idx3-ubyte"):
        read_mnist(tmp_path)
