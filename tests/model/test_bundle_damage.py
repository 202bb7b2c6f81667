"""Every damage to a bundle is a BundleError that names it."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from model.bundle import Bundle, BundleInfo, load_bundle
from model.errors import BundleError

FILES = ["config.json", "vocabulary.txt", "classes.json", "weights.safetensors"]
TENSOR = "decoder/output/bias"

Damage = Callable[[Path], None]


# The numbers in these tests are the toy's: without TensorFlow, which makes it, they are skipped.
pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def copy(toy_bundle: Path, tmp_path: Path) -> Path:
    """Returns a copy of the toy bundle to damage."""
    return Path(shutil.copytree(toy_bundle, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def scratch(toy_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a copy that a property test damages and mends again and again."""
    return Path(shutil.copytree(toy_bundle, tmp_path_factory.mktemp("scratch") / "bundle"))


def seal(path: Path) -> None:
    """Writes a manifest that fits the files, as somebody does who edits a bundle by hand."""
    files = {
        name: {"sha256": hashlib.sha256((path / name).read_bytes()).hexdigest(), "bytes": (path / name).stat().st_size}
        for name in FILES
    }
    (path / "manifest.json").write_text(json.dumps({"format_version": 1, "files": files}))


def edited(name: str, edit: Callable[[Any], Any]) -> Damage:
    """Returns a damage that edits the content of a JSON file."""

    def damage(path: Path) -> None:
        content = json.loads((path / name).read_text())
        (path / name).write_text(json.dumps(edit(content)))

    return damage


def with_config(section: str, **values: Any) -> Damage:
    return edited("config.json", lambda c: {**c, section: {**c[section], **values}} if section else {**c, **values})


def written(name: str, content: bytes) -> Damage:
    def damage(path: Path) -> None:
        (path / name).write_bytes(content)

    return damage


def with_tensors(edit: Callable[[dict[str, Any]], dict[str, Any]]) -> Damage:
    return lambda path: save_file(edit(load_file(path / "weights.safetensors")), path / "weights.safetensors")


def with_bias(change: Callable[[Any], Any]) -> Damage:
    return with_tensors(lambda tensors: {**tensors, TENSOR: change(tensors[TENSOR])})


def flip(file: Path, index: int) -> None:
    data = bytearray(file.read_bytes())
    data[index] ^= 1
    file.write_bytes(data)


def outcome(path: Path) -> Bundle | BundleError:
    try:
        return load_bundle(path)
    except BundleError as error:
        return error


def check_refused(path: Path, message: str) -> None:
    for read in (BundleInfo.from_bundle, load_bundle):
        with pytest.raises(BundleError, match=message):
            read(path)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    check_refused(copy, f"expected the file {name} of the manifest, found none; copy the bundle again")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("index", [0, -1])
def test_a_flipped_bit_is_named(copy: Path, name: str, index: int) -> None:
    flip(copy / name, index)
    check_refused(copy, f"{name}: expected SHA-256 .+ it is damaged")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", [-1, 1])
def test_another_size_is_named(copy: Path, name: str, change: int) -> None:
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data + b"\n" if change > 0 else data[:-1])
    check_refused(copy, f"{name}: expected {len(data)} bytes, found {len(data) + change} bytes")


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_place_of_a_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    (copy / name).mkdir()
    check_refused(copy, f"expected the file {name}")


def test_a_path_without_a_bundle_is_named(copy: Path) -> None:
    check_refused(copy.parent / "nowhere", "nowhere: expected a bundle directory with manifest.json, found none")
    check_refused(copy.parent, "expected a bundle directory with manifest.json, found none")
    check_refused(copy / "config.json", r"config\.json")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"format_version": 1}',
        b'{"format_version": 1, "files": []}', b'{"format_version": 1, "files": {"config.json": null}}',
        b'{"format_version": 1, "files": {"config.json": {"sha256": "0"}}}', b'{"files": {}}',
    ],
    ids=range(12),
)  # fmt: skip
def test_a_manifest_that_is_none_is_named(copy: Path, content: bytes) -> None:
    (copy / "manifest.json").write_bytes(content)
    check_refused(copy, r"manifest\.json: expected a bundle's manifest, received something else")


@pytest.mark.parametrize("version", [0, 6, True, "1", None, [1]])
def test_another_format_version_is_named(copy: Path, version: object) -> None:
    edited("manifest.json", lambda manifest: {**manifest, "format_version": version})(copy)
    check_refused(copy, "expected bundle format 1, 2, 3, 4 or 5, received .+ with this version")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_the_manifest_does_not_know_is_named(copy: Path, name: str) -> None:
    edited("manifest.json", lambda m: {**m, "files": {key: value for key, value in m["files"].items() if key != name}})(
        copy
    )
    check_refused(copy, f"expected an entry for {name}, found none")


@pytest.mark.parametrize("name", ["../secret.txt", "{absolute}", "sub/../../secret.txt", "", ".", "..", "a\0b"])
def test_a_manifest_cannot_name_a_file_outside_the_bundle(copy: Path, name: str) -> None:
    secret = copy.parent / "secret.txt"
    secret.write_text("secret")
    entry = {"sha256": hashlib.sha256(b"secret").hexdigest(), "bytes": 6}
    name = name.replace("{absolute}", str(secret))
    edited("manifest.json", lambda manifest: {**manifest, "files": {**manifest["files"], name: entry}})(copy)
    check_refused(copy, "expected the file .* of the manifest, found none")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (written("config.json", b"{"), "text that is not JSON"),
        (written("config.json", b"\xff\xfe"), r"config\.json: expected UTF-8 text"),
        (with_config("", format_version=6), "format_version: expected 1, 2, 3, 4 or 5, received 6"),
        (with_config("", format_version=2), "segmentation is not a field of format_version 2"),
        (with_config("", segmentation="jieba"), "segmentation: expected spaces or icu, received 'jieba'"),
        (with_config("", colour="red"), "colour is not a known field"),
        (with_config("encoder", classes=13), "expected 13 classes as config.json says, found 12 in classes.json"),
        (with_config("decoder", vocabulary_size=16), "expected 16 words as config.json says, found 15"),
        (with_config("encoder", batch_norm=True), "batch norm and residual branches folded"),
        (with_config("encoder", residual=True), "batch norm and residual branches folded"),
        (written("vocabulary.txt", b"a\nb\n"), "expected the first tokens to be"),
        (written("vocabulary.txt", b"<pad>\n<end>\n<unk>\na\na\n"), "expected distinct words"),
        (written("vocabulary.txt", b"<pad>\n<end>\n<unk>\na\n"), "expected 15 words as config.json says, found 4"),
        (edited("classes.json", lambda names: names[1:]), "expected 12 classes as config.json says, found 11"),
        (edited("classes.json", lambda names: [*names[1:], "dog"]), r"classes\.json: expected a list of"),
        (written("classes.json", b"\xff"), r"classes\.json: expected a list of"),
    ],
)
def test_parts_that_disagree_are_named_in_a_sealed_bundle(copy: Path, damage: Damage, message: str) -> None:
    damage(copy)
    seal(copy)
    check_refused(copy, message)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (written("weights.safetensors", b""), "expected a safetensors file"),
        (written("weights.safetensors", b"PK\x03\x04 a zip, or a pickle in it"), "expected a safetensors file"),
        (with_tensors(lambda tensors: {**tensors, "decoder/x": np.zeros(1, np.float32)}), "decoder/x: which this arch"),
        (with_tensors(lambda tensors: {n: t for n, t in tensors.items() if n != TENSOR}), f"{TENSOR}: found none"),
        (with_bias(lambda bias: bias[1:]), rf"{TENSOR}: expected shape \(15,\), found \(14,\)"),
        (with_bias(lambda bias: bias[None]), rf"{TENSOR}: expected shape \(15,\), found \(1, 15\)"),
        (with_bias(lambda bias: bias * np.float32("nan")), f"{TENSOR}: expected finite numbers"),
        (with_bias(lambda bias: bias + np.float32("inf")), f"{TENSOR}: expected finite numbers"),
        (with_bias(lambda bias: bias.astype(np.int32)), f"{TENSOR}: expected numbers of type F16 or F32, received I32"),
        (with_bias(lambda bias: bias.astype(np.float64)), f"{TENSOR}: expected .+ received F64"),
        (with_config("encoder", widths=(0.04,) * 5), r"expected shape \(3, 3, 3, 3\), found \(3, 3, 3, 2\)"),
        (with_config("decoder", layers=2), "decoder/gru_2/bias: found none"),
        (with_config("decoder", units=13), r"decoder/gru_1/kernel: expected shape \(8, 39\), found \(8, 36\)"),
    ],
)
def test_weights_that_do_not_fit_are_named_in_a_sealed_bundle(copy: Path, damage: Damage, message: str) -> None:
    damage(copy)
    seal(copy)
    with pytest.raises(BundleError, match=message):
        load_bundle(copy)


@settings(max_examples=100)
@given(st.sampled_from([*FILES, "manifest.json"]), st.data())
def test_any_mutation_gives_a_bundle_or_a_bundle_error(scratch: Path, name: str, data: st.DataObject) -> None:
    whole = (scratch / name).read_bytes()
    mutated = bytearray(whole)
    # The description of the tensors stands in front of them.
    for position in data.draw(st.lists(st.integers(0, min(len(whole), 3000) - 1), min_size=1, max_size=4)):
        mutated[position] = data.draw(st.integers(0, 255))
    (scratch / name).write_bytes(mutated)
    if name != "manifest.json":
        seal(scratch)
    try:
        result = outcome(scratch)
    finally:
        (scratch / name).write_bytes(whole)
        seal(scratch)
    assert isinstance(result, Bundle) or "expected" in str(result)
