"""Bundles: what is saved is what is loaded, and saving replaces all or nothing."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.bundle import (
    LITE_FILES,
    Bundle,
    BundleInfo,
    ClassName,
    load_bundle,
    read_classes,
    save_bundle,
    weight_shapes,
)
from model.errors import BundleError
from model.vocabulary import SPECIAL, Vocabulary

FILES = {
    "config.json", "vocabulary.txt", "classes.json", "weights.safetensors", "encoder.tflite", "decoder.tflite",
    "manifest.json",
}  # fmt: skip


def tree(path: Path) -> dict[str, bytes]:
    """Returns the bytes of every file below `path` by its relative name, hidden ones too."""
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def with_weight(bundle: Bundle, name: str, value: np.ndarray) -> Bundle:
    return dataclasses.replace(bundle, weights={**bundle.weights, name: value})


def of_version(bundle: Bundle, version: str) -> Bundle:
    return dataclasses.replace(bundle, config=dataclasses.replace(bundle.config, version=version))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_loading_gives_what_was_saved(toy: Bundle, tmp_path: Path, dtype: type) -> None:
    saved = dataclasses.replace(toy, weights={name: value.astype(dtype) for name, value in toy.weights.items()})
    save_bundle(tmp_path / "bundle", saved)
    loaded = load_bundle(tmp_path / "bundle")
    assert (loaded.config, loaded.vocabulary, loaded.classes) == (toy.config, toy.vocabulary, toy.classes)
    assert loaded.weights.keys() == toy.weights.keys() == weight_shapes(toy.config).keys()
    for name, value in saved.weights.items():
        assert loaded.weights[name].dtype == dtype
        np.testing.assert_array_equal(loaded.weights[name], value)


def test_verifying_gives_what_the_bundle_says_of_itself(toy: Bundle, toy_bundle: Path, tmp_path: Path) -> None:
    info = BundleInfo.from_bundle(toy_bundle)
    assert (info.config, info.classes, info.has_lite_files) == (toy.config, toy.classes, True)
    save_bundle(tmp_path / "plain", toy)
    assert not BundleInfo.from_bundle(tmp_path / "plain").has_lite_files


def test_a_bundle_has_both_files_of_the_cpu_engine_or_neither(toy: Bundle, tmp_path: Path) -> None:
    save_bundle(tmp_path / "half", toy, {"encoder.tflite": b"of no use alone"})
    with pytest.raises(BundleError, match=r"both encoder\.tflite and decoder\.tflite"):
        BundleInfo.from_bundle(tmp_path / "half")


def test_a_file_of_the_cpu_engine_that_the_manifest_lacks_is_not_the_bundles(toy: Bundle, tmp_path: Path) -> None:
    save_bundle(tmp_path / "plain", toy)
    for name in ("encoder.tflite", "decoder.tflite"):
        (tmp_path / "plain" / name).write_bytes(b"put there by somebody else")
    assert not BundleInfo.from_bundle(tmp_path / "plain").has_lite_files


def test_a_bundle_holds_its_plain_files_and_nothing_executable(toy_bundle: Path) -> None:
    assert set(tree(toy_bundle)) == FILES
    assert {file.stat().st_mode & 0o777 for file in toy_bundle.iterdir()} == {0o644}
    assert toy_bundle.stat().st_mode & 0o777 == 0o755


def test_the_files_can_be_read_without_this_project(toy: Bundle, toy_bundle: Path) -> None:
    assert (toy_bundle / "vocabulary.txt").read_text().splitlines() == list(toy.vocabulary.words)
    assert json.loads((toy_bundle / "config.json").read_text())["name"] == "toy"
    assert json.loads((toy_bundle / "classes.json").read_text())[1] == {"id": "n00000001", "label": "class_1"}
    manifest = json.loads((toy_bundle / "manifest.json").read_text())
    assert manifest["format_version"] == 5
    assert set(manifest["files"]) == FILES - {"manifest.json"}


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("engine", ["litert", "tensorflow"])
def test_a_start_hashes_every_file_once(toy_bundle: Path, engine: str) -> None:
    program = (
        "import collections, pathlib, sys\n"
        "from model.captioner import Captioner\n"
        "opened = collections.Counter()\n"
        "sys.addaudithook(lambda event, args: opened.update([str(args[0])]) if event == 'open' else None)\n"
        "Captioner.load(pathlib.Path(sys.argv[1]), engine=sys.argv[2])\n"
        "print(opened[str(pathlib.Path(sys.argv[1]) / 'weights.safetensors')])"
    )
    command = [sys.executable, "-c", program, str(toy_bundle), engine]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert run.stdout == "1\n"


@pytest.mark.usefixtures("toy")
def test_reading_a_bundle_needs_neither_keras_nor_tensorflow(toy_bundle: Path) -> None:
    program = (
        "import pathlib, sys\n"
        "from model.bundle import load_bundle\n"
        "print(load_bundle(pathlib.Path(sys.argv[1])).config.name, sorted({'keras', 'tensorflow'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(toy_bundle)]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert run.stdout == "toy []\n"


def test_words_and_labels_of_any_script_survive(toy: Bundle, tmp_path: Path) -> None:
    words = [*toy.vocabulary.words[:-2], "läuft", "草地"]
    classes = (*toy.classes[:-1], ClassName("ä", 'a "quoted" 草 label\n'))
    save_bundle(tmp_path / "b", dataclasses.replace(toy, vocabulary=Vocabulary(words), classes=classes))
    loaded = load_bundle(tmp_path / "b")
    assert (loaded.vocabulary.words, loaded.classes) == (tuple(words), classes)


@pytest.mark.parametrize("before", ["nothing", "empty", "bundle", "damaged"])
def test_saving_replaces_an_older_bundle_whole(toy: Bundle, tmp_path: Path, before: str) -> None:
    path = tmp_path / "new" / "bundle"
    if before in ("bundle", "damaged"):
        save_bundle(path, toy)
    if before == "damaged":
        (path / "config.json").write_text("damaged")
    if before == "empty":
        path.mkdir(parents=True)
    save_bundle(path, of_version(toy, "2"))
    assert load_bundle(path).config.version == "2"
    assert {Path(name) for name in tree(tmp_path)} == {Path("new") / "bundle" / name for name in FILES - LITE_FILES}
    assert [entry.name for entry in path.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    "content",
    [
        {"bundle/notes.txt": "mine"},
        {"bundle/manifest.json": "{}", "bundle/index.html": "a web page has a manifest.json too"},
        {"bundle/photos/1.jpg": "mine"},
        {"bundle": "a file"},
        {"bundle/config.json": "{}"},
    ],
    ids=["folder", "web_page", "folder_in_folder", "file", "config_alone"],
)
def test_saving_refuses_to_replace_anything_else(toy: Bundle, tmp_path: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(BundleError, match="expected a bundle or nothing to replace"):
        save_bundle(tmp_path / "bundle", toy)
    assert tree(tmp_path) == {name: text.encode() for name, text in content.items()}


def test_a_bundle_with_somebodys_own_file_in_it_is_not_replaced(toy: Bundle, tmp_path: Path) -> None:
    save_bundle(tmp_path / "bundle", toy)
    (tmp_path / "bundle" / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="found something else"):
        save_bundle(tmp_path / "bundle", of_version(toy, "2"))
    assert load_bundle(tmp_path / "bundle").config.version == "1"
    assert (tmp_path / "bundle" / "notes.txt").read_text() == "mine"


def inconsistent(toy: Bundle) -> dict[str, tuple[Bundle, str]]:
    """Returns bundles whose parts do not fit, each with what its error must name."""
    name = "decoder/output/bias"
    bias = toy.weights["decoder/output/bias"]
    batch_norm = dataclasses.replace(toy.config, encoder=dataclasses.replace(toy.config.encoder, batch_norm=True))
    weights = dict(toy.weights)
    del weights[name]
    return {
        "vocabulary": (dataclasses.replace(toy, vocabulary=Vocabulary([*SPECIAL, "a"])), r"15 words .+ found 4"),
        "classes": (dataclasses.replace(toy, classes=toy.classes[:2]), r"12 classes .+ found 2"),
        "unfolded": (dataclasses.replace(toy, config=batch_norm), "batch norm and residual branches folded"),
        "missing": (dataclasses.replace(toy, weights=weights), f"{name}: found none"),
        "extra": (with_weight(toy, "decoder/extra", bias), "decoder/extra: which this architecture lacks"),
        "shape": (with_weight(toy, name, bias[:-1]), rf"{name}: expected shape \(15,\), found \(14,\)"),
        "nan": (with_weight(toy, name, bias * np.float32("nan")), f"{name}: expected finite numbers"),
        "float64": (with_weight(toy, name, bias.astype(np.float64)), f"{name}: expected float16 or float32"),
        "int": (with_weight(toy, name, bias.astype(np.int32)), f"{name}: expected float16 or float32"),
    }


@pytest.mark.parametrize(
    "damage", ["vocabulary", "classes", "unfolded", "missing", "extra", "shape", "nan", "float64", "int"]
)
def test_what_could_not_be_loaded_is_not_saved_and_the_old_bundle_stays(
    toy: Bundle, tmp_path: Path, damage: str
) -> None:
    bundle, message = inconsistent(toy)[damage]
    save_bundle(tmp_path / "bundle", toy)
    before = tree(tmp_path)
    for path in (tmp_path / "bundle", tmp_path / "another"):
        with pytest.raises(BundleError, match=message):
            save_bundle(path, bundle)
    assert tree(tmp_path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]


def test_a_save_that_fails_half_way_leaves_the_old_bundle_and_nothing_else(toy: Bundle, tmp_path: Path) -> None:
    save_bundle(tmp_path / "bundle", toy)
    before = tree(tmp_path)
    surrogate = (*toy.classes[:-1], ClassName("n", "\ud800 cannot be written"))
    for path in (tmp_path / "bundle", tmp_path / "another"):
        with pytest.raises(UnicodeEncodeError):
            save_bundle(path, dataclasses.replace(toy, classes=surrogate))
    assert tree(tmp_path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]


def test_a_copied_bundle_is_a_bundle(toy: Bundle, toy_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(toy_bundle, tmp_path / "copy with space")
    assert load_bundle(tmp_path / "copy with space").config == toy.config


@given(st.lists(st.tuples(st.text(), st.text()), max_size=12))
def test_class_names_are_read_in_both_forms(
    tmp_path_factory: pytest.TempPathFactory, names: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "classes.json"
    expected = tuple(ClassName(*name) for name in names)
    path.write_text(json.dumps([{"id": name, "label": label} for name, label in names]))
    assert read_classes(path) == expected
    path.write_text(json.dumps({str(index): name for index, name in enumerate(names)}))
    assert read_classes(path) == expected


@pytest.mark.parametrize(
    "text", ["", "null", "3", "[1]", '["a"]', '[{"id": "n"}]', '{"1": ["n", "l"]}', '{"0": ["n"]}', "[" * 10_000]
)
def test_class_names_of_no_form_are_a_bundle_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(BundleError, match=r"classes\.json: expected a list of"):
        read_classes(tmp_path / "classes.json")
