"""An encoder's top that learns a teacher's answers from maps."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from model.config import EncoderConfig
from model.encoder import build_encoder
from model.errors import ConfigError, DataError
from tests.training.processes import Command, wait_until
from training.commands.grow import distill_top
from training.config import TopConfig
from training.data.photo_cache import PhotoCache, fill, photo_key
from training.encoder.distill_top import learning_part
from training.encoder.lite2 import cache_answers
from training.encoder.maps import cache_maps, top_part
from training.encoder.sources import load_encoder
from training.encoder.teach import estimate_top, teach_top
from training.encoder.top_data import Batches, TopData
from training.loop.checkpoint import BEST, named_variables, read_progress, save_checkpoint
from training.loop.directory import DISTILLED, METRICS

ENCODER = EncoderConfig(
    widths=(0.05,) * 5, fc_units=1280, classes=1000, input_pooling=2, pooling="average", features="average", dropout=0.0
)
CONFIG = TopConfig(epochs=12, batch_size=8, learning_rate=3e-3)
FROM_FC1 = replace(CONFIG, train_from="fc1", mixup=0.4)
EXCLUDED = [f"photo-{index:02}.jpg" for index in range(4)]

Inputs = tuple[Path, Path, Path, Path, list[Path]]
"""Encoder, maps, answers, teacher and photos."""


@pytest.fixture(scope="module")
def inputs(drawn: Path, lite2: Path, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    root = tmp_path_factory.mktemp("top")
    keras.utils.set_random_seed(2)
    encoder = build_encoder(ENCODER)
    (root / "encoder").mkdir()
    place = {"encoder": {name: getattr(ENCODER, name) for name in ENCODER.__slots__}}
    save_checkpoint(root / "encoder" / BEST, named_variables(encoder, "encoder"), place)
    photos = sorted(drawn.glob("*.jpg"))
    cache_maps(root / "maps", encoder, photos)
    cache_answers(root / "answers", lite2, photos)
    return root / "encoder", root / "maps", root / "answers", lite2, photos


def teach(directory: Path, inputs: Inputs, config: TopConfig = CONFIG) -> bool:
    return teach_top(directory, *inputs, EXCLUDED, config)


def weights_of(directory: Path) -> dict[str, Any]:
    return {name: value for name, value in load_file(directory / DISTILLED).items() if name.startswith("encoder/")}


@pytest.fixture(scope="module")
def whole(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the directory of a run that was not interrupted."""
    directory = tmp_path_factory.mktemp("whole")
    assert teach(directory, inputs, FROM_FC1)
    return directory


@pytest.fixture(scope="module")
def deeper(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the directory of a run in which a convolution learned too."""
    directory = tmp_path_factory.mktemp("deeper")
    assert teach(directory, inputs, replace(CONFIG, train_from="block5_conv4"))
    return directory


@pytest.mark.parametrize(("run", "first"), [("deeper", "block5_conv4"), ("whole", "fc1")])
def test_what_learns_learns_and_what_is_frozen_stays(
    inputs: Inputs, run: str, first: str, request: pytest.FixtureRequest
) -> None:
    notes: list[float] = []
    directory: Path = request.getfixturevalue(run)
    before = load_encoder(inputs[0]).network
    after = load_encoder(directory).network
    learned = False
    for old, new in zip(before.layers, after.layers, strict=True):
        learned |= old.name == first
        for value, other in zip(old.weights, new.weights, strict=True):
            assert np.array_equal(value, other) == (not learned), old.name
    cache = PhotoCache(inputs[1])
    rows = [photo_key(photo.read_bytes()) for photo in inputs[4][4:]]
    maps = np.stack([cache.read("maps", key) for key in rows]).astype(np.float32)
    answers = PhotoCache(inputs[2])
    wanted = np.stack([answers.read("features", key) for key in rows]).astype(np.float32)
    for encoder in (before, after):
        top = keras.Model(encoder.get_layer("block4_pool").output, encoder.get_layer("fc2_relu").output)
        notes.append(float(np.mean(np.square(np.asarray(top(maps)) - wanted))))
    assert notes[1] < 0.5 * notes[0]
    assert top_part(after)(maps)["logits"].shape == (20, 1000)
    assert read_progress(directory / DISTILLED)["step"] == read_progress(directory / DISTILLED)["total"] == 60


def test_both_views_of_the_photos_that_are_not_excluded_are_learned_from(whole: Path) -> None:
    assert read_progress(whole / DISTILLED)["views"] == 2 * (24 - len(EXCLUDED))
    assert np.load(whole / "held_out_inputs.npy").shape == (2 * len(EXCLUDED), round(0.05 * 512))


def test_a_run_that_is_killed_goes_on_to_the_same_end(inputs: Inputs, whole: Path, tmp_path: Path) -> None:
    encoder, maps, answers, teacher, photos = inputs
    (tmp_path / "excluded").write_text("\n".join(EXCLUDED))
    places = ["--encoder", encoder, "--maps", maps, "--answers", answers, "--teacher", teacher]
    places += ["--photos", photos[0].parent, "--exclude", tmp_path / "excluded", "--out", tmp_path / "killed"]
    options = [
        "--train-from",
        "fc1",
        "--mixup",
        "0.4",
        "--epochs",
        "12",
        "--batch-size",
        "8",
        "--learning-rate",
        "3e-3",
    ]
    command = Command(tmp_path / "log", "distill-top", *places, *options, "--checkpoint-steps", "1")
    wait_until((tmp_path / "killed" / DISTILLED).exists, command)
    assert command.kill() == -signal.SIGKILL, command.told()
    assert 0 < read_progress(tmp_path / "killed" / DISTILLED)["step"] < 60
    assert teach(tmp_path / "killed", inputs, FROM_FC1)
    for name, value in weights_of(whole).items():
        np.testing.assert_allclose(weights_of(tmp_path / "killed")[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    with pytest.raises(DataError, match=r"differs in top\.epochs"):
        teach(tmp_path / "killed", inputs, replace(FROM_FC1, epochs=7))


def test_what_does_not_fit_is_told(inputs: Inputs, tmp_path: Path) -> None:
    encoder, maps, answers, teacher, photos = inputs
    with pytest.raises(DataError, match="found none that is not excluded"):
        teach_top(tmp_path / "a", encoder, maps, answers, teacher, photos[:4], EXCLUDED, CONFIG)
    with pytest.raises(DataError, match="another's"):
        teach_top(tmp_path / "b", encoder, maps, maps, teacher, photos, EXCLUDED, CONFIG)
    with pytest.raises(ConfigError, match=r"train_from: expected one of block5_conv1.*, received 'block4_conv1'"):
        learning_part(load_encoder(encoder).network, "block4_conv1")


@pytest.mark.parametrize(
    ("option", "value"),
    [("epochs", 0), ("learning_rate", 0.0), ("weight_decay", -1.0), ("class_weight", -0.1), ("mixup", -1.0)],
)
def test_an_option_out_of_range_is_told(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{option}: expected"):
        replace(CONFIG, **{option: value})


def test_inputs_and_answers_are_mixed_alike_and_as_the_step_says(drawn: Path, tmp_path: Path) -> None:
    photos = sorted(drawn.glob("*.jpg"))

    def linear(images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
        values = images[:, ::64, 0, 0].astype(np.float32)  # 4 of 224 rows
        return {"maps": values, "features": 2 * values, "logits": values[:, ::-1] + 1}

    fill(tmp_path / "cache", "linear", {"maps": (4,), "features": (4,), "logits": (4,)}, linear, photos, ("whole",))
    cache = PhotoCache(tmp_path / "cache")
    data = TopData(tmp_path / "inputs.npy", lambda values: values, photos, cache, cache)
    plain, mixed = (Batches(data, TopConfig(batch_size=8, mixup=mixup)) for mixup in (0.0, 1.0))
    inputs, answers = mixed.batch(4)
    np.testing.assert_allclose(answers["features"], 2 * inputs, rtol=1e-5)
    np.testing.assert_allclose(answers["logits"], inputs[:, ::-1] + 1, rtol=1e-5)
    np.testing.assert_array_equal(Batches(data, TopConfig(batch_size=8, mixup=1.0)).batch(4)[0], inputs)
    unmixed = plain.batch(4)[0]
    assert not np.array_equal(inputs, unmixed)
    assert ((inputs >= unmixed.min(axis=0)) & (inputs <= unmixed.max(axis=0))).all()


def test_known_classes_are_told_by_names_and_mixed_with_their_views(drawn: Path, tmp_path: Path) -> None:
    photos = []
    for number, photo in enumerate(sorted(drawn.glob("*.jpg"))[:8]):
        photos.append(tmp_path / (f"n0000000{number}_photo.jpg" if number < 4 else photo.name))
        photos[-1].write_bytes(photo.read_bytes())
    answered = {"maps": (4,), "features": (4,), "logits": (6,)}
    fill(tmp_path / "cache", "none", answered, lambda i: {n: np.zeros((len(i), *s)) for n, s in answered.items()},
         photos, ("whole",))  # fmt: skip
    cache = PhotoCache(tmp_path / "cache")
    classes = {f"n0000000{number}": 5 - number for number in range(3)}
    data = TopData(tmp_path / "inputs.npy", lambda values: values, photos, cache, cache, classes)
    _, targets = data.batch(np.arange(8))
    assert targets["labels"].argmax(axis=1)[:3].tolist() == [5, 4, 3]
    assert targets["labels"].sum(axis=1).tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    _, mixed = Batches(data, TopConfig(batch_size=8, mixup=1.0)).batch(0)
    assert mixed["labels"].sum() == pytest.approx(3, abs=1)
    assert ((mixed["labels"] > 0) & (mixed["labels"] < 1)).any()


def test_a_top_learns_the_classes_that_it_is_told(inputs: Inputs, tmp_path: Path) -> None:
    encoder, maps, answers, teacher, photos = inputs
    folder = tmp_path / "n00000001"
    folder.mkdir()
    named = [folder / photo.name for photo in photos]
    for photo, copy in zip(photos, named, strict=True):
        copy.write_bytes(photo.read_bytes())
    config = replace(FROM_FC1, epochs=6, mixup=0.0, label_weight=5.0)
    assert teach_top(tmp_path / "run", encoder, maps, answers, teacher, named, [], config, classes={"n00000001": 7})
    read = PhotoCache(maps)
    rows = np.stack([read.read("maps", photo_key(photo.read_bytes())) for photo in photos]).astype(np.float32)
    told, untold = (top_part(load_encoder(run).network)(rows)["logits"] for run in (tmp_path / "run", encoder))
    assert (np.asarray(told).argmax(axis=1) == 7).mean() > 0.9
    assert (np.asarray(untold).argmax(axis=1) == 7).mean() < 0.5


@pytest.mark.parametrize("given", [("--label-weight", "1"), ("--classes", "FILE")])
def test_a_weight_of_classes_needs_their_file_and_the_other_way_round(
    inputs: Inputs, given: tuple[str, str], tmp_path: Path
) -> None:
    encoder, maps, answers, teacher, photos = inputs
    (tmp_path / "classes.json").write_text("{}")
    words = ["--encoder", encoder, "--maps", maps, "--answers", answers, "--teacher", teacher, "--photos"]
    words += [
        photos[0].parent,
        "--out",
        tmp_path / "run",
        given[0],
        given[1].replace("FILE", f"{tmp_path}/classes.json"),
    ]
    result = CliRunner().invoke(distill_top, [str(word) for word in words])
    assert result.exit_code == 2
    assert "expected --label-weight and --classes" in result.output


def test_a_run_keeps_figures_and_the_best_and_can_begin_anew(inputs: Inputs, tmp_path: Path) -> None:
    assert teach(tmp_path, inputs, replace(FROM_FC1, epochs=1))
    (line,) = [line for line in map(json.loads, (tmp_path / METRICS).read_text().splitlines()) if line["kind"] == "dev"]
    assert 0 <= line["agreement"] <= 1
    assert load_encoder(tmp_path).file == tmp_path / BEST
    assert teach_top(tmp_path, *inputs, EXCLUDED, replace(FROM_FC1, epochs=2), anew=True)
    assert read_progress(tmp_path / DISTILLED)["step"] == 10


def test_an_estimate_says_what_a_run_needs(inputs: Inputs) -> None:
    encoder, maps, _, lite2, photos = inputs
    text = estimate_top(encoder, maps, lite2, photos, EXCLUDED, CONFIG)
    assert "memory of the process: about " in text
    assert "60 steps, " in text
