"""Distillation: targets that go on where they stopped, a student that learns them, and refusals."""

import json
import signal
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from model.bundle import Bundle, ClassName, load_bundle, save_bundle
from model.config import CaptionerConfig, DecoderConfig, EncoderConfig, SearchConfig
from model.decoder import Decoder
from model.encoder import build_encoder
from model.errors import ConfigError, DataError
from model.presets import small
from model.vocabulary import SPECIAL, Vocabulary
from model.weights import assign_weights, bundle_weights
from tests.training.processes import Command, terminated_when, wait_until
from training.config import DistillConfig, RunConfig
from training.data.captioned import find_photos
from training.encoder.distill import FeatureLoss, SoftClassLoss, distill, estimate_distillation
from training.encoder.held_out import HeldOut
from training.encoder.sources import load_encoder, load_student
from training.encoder.targets import PHOTOS, STAMP, Targets
from training.encoder.teacher import load_teacher
from training.encoder.views import Photos, read_photos, view_of
from training.loop.checkpoint import BEST, load_checkpoint, named_variables, read_progress, save_checkpoint
from training.loop.directory import CURVES, DISTILLED, METRICS

pytestmark = pytest.mark.slow

CONFIG = DistillConfig(views=3, batch_size=8, epochs=1.0, map_components=6, learning_rate=3e-3)
STUDENT = replace(small().encoder, widths=(0.03,) * 5, input_pooling=4)
HELD_OUT = frozenset({"photo-00.jpg", "photo-01.jpg"})


@pytest.fixture(scope="module")
def run(drawn: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the directory of a distillation run to its end."""
    directory = tmp_path_factory.mktemp("run")
    assert distill(directory, [drawn], HELD_OUT, teacher, STUDENT, CONFIG)
    return directory


@pytest.fixture(scope="module")
def targets(run: Path, drawn: Path, teacher: Path) -> Targets:
    """Returns the answers of that run."""
    return Targets(run, find_photos([drawn], HELD_OUT), teacher, CONFIG)


def test_the_answers_are_the_teacher_s_to_the_very_views(targets: Targets, teacher: Path) -> None:
    network = load_teacher(teacher)
    for row, view in ((0, 0), (7, 1), (21, 2)):
        answers = network.predict_on_batch(view_of(targets.photos, row, view, CONFIG)[None])
        np.testing.assert_allclose(targets.features[row, view], answers["features"][0], rtol=1e-2, atol=1e-3)
        np.testing.assert_allclose(targets.logits[row, view], answers["logits"][0], rtol=1e-2, atol=1e-3)
        codes = targets.projection.codes(answers["maps"])[0].astype(int)
        assert np.abs(targets.maps[row, view] - codes).max() <= 2
        np.testing.assert_allclose(answers["maps"].mean(axis=(1, 2)), answers["features"], rtol=1e-3, atol=1e-4)


def test_a_batch_is_a_function_of_its_step_and_mirrors_the_map_with_the_image(targets: Targets) -> None:
    images, answers = targets.batch(3)
    again, answers_again = targets.batch(3)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(answers["maps"], answers_again["maps"])
    views = {(row, view): view_of(targets.photos, row, view, CONFIG) for row in range(22) for view in range(3)}
    mirrored = 0
    for image, features, maps in zip(images, answers["features"], answers["maps"], strict=True):
        row, view, turned = next(
            (row, view, turn)
            for (row, view), pixels in views.items()
            for turn in (1, -1)
            if np.array_equal(image, pixels[:, ::turn])
        )
        np.testing.assert_array_equal(features, np.float32(targets.features[row, view]))
        np.testing.assert_array_equal(maps, targets.projection.targets(targets.maps[row, view])[:, ::turned])
        mirrored += turned < 0
    assert 0 < mirrored < len(images)


def test_every_view_comes_once_an_epoch(targets: Targets) -> None:
    order = targets.order(1)
    assert sorted(order) == list(range(66))
    assert list(order) != list(targets.order(2))


def answered(directory: Path) -> int:
    """Returns the number of views whose answers are kept; 0 before any are."""
    stamp = directory / STAMP
    return int(json.loads(stamp.read_text())["answered"]) if stamp.exists() else 0


def test_answers_go_on_where_a_killed_process_left_them(
    drawn: Path, teacher: Path, targets: Targets, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "held out.txt").write_text("\n".join(sorted(HELD_OUT)))
    options = [
        "--photos",
        drawn,
        "--exclude",
        tmp_path / "held out.txt",
        "--teacher",
        teacher,
        "--out",
        tmp_path / "run",
    ]
    options += ["--views", "3", "--batch-size", "8", "--checkpoint-steps", "2"]
    killed = Command(tmp_path / "log", "distill", *options)
    wait_until(lambda: answered(tmp_path / "run") > 0, killed)
    assert killed.kill() == -signal.SIGKILL, killed.told()
    kept = answered(tmp_path / "run")
    assert kept in (16, 32, 48), killed.told()
    by_default = replace(CONFIG, map_components=DistillConfig().map_components)
    finished = Targets(tmp_path / "run", find_photos([drawn], HELD_OUT), teacher, by_default)
    assert f"computing the teacher's answers to {66 - kept} of 66 views" in capfd.readouterr().err
    assert finished.complete
    np.testing.assert_allclose(finished.features, targets.features, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(finished.logits, targets.logits, rtol=1e-2, atol=1e-3)


def test_a_requested_stop_of_the_teacher_keeps_its_answers(drawn: Path, teacher: Path, tmp_path: Path) -> None:
    with terminated_when(lambda: answered(tmp_path) > 0):
        every_batch = RunConfig(checkpoint_steps=1)
        assert not distill(tmp_path, [drawn], HELD_OUT, teacher, STUDENT, CONFIG, run_config=every_batch)
    assert answered(tmp_path) in range(8, 66, 8)
    assert not (tmp_path / DISTILLED).exists()


def test_the_losses_fall(run: Path, drawn: Path, teacher: Path, targets: Targets) -> None:
    student, _ = load_student(run)
    untrained = build_encoder(STUDENT)
    variance = np.asarray(targets.features[:, 0], np.float32).var(axis=0)
    photos = [path for path in find_photos([drawn]) if path.name in HELD_OUT]
    held_out = HeldOut(run / "some.npy", photos, load_teacher(teacher), variance)
    assert held_out.compared(student).feature_loss < held_out.compared(untrained).feature_loss


def test_a_teacher_compared_with_itself_agrees(run: Path, drawn: Path, teacher: Path) -> None:
    network = load_teacher(teacher)
    photos = find_photos([drawn])
    assert HeldOut(run / "some.npy", photos, network, np.ones(1280, np.float32)).compared(network)[::2] == (0, 1)


def test_held_out_photos_are_compared_and_never_trained_on(
    drawn: Path, teacher: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert distill(tmp_path, [drawn, drawn], HELD_OUT, teacher, STUDENT, replace(CONFIG, views=1), held_out_steps=3)
    notes = [line for line in capfd.readouterr().err.splitlines() if "held out: feature_loss" in line]
    assert [line.split(",")[0] for line in notes] == ["step 3", "step 6"]
    assert np.load(tmp_path / "held_out.npy").shape[0] == len(HELD_OUT)
    assert np.load(tmp_path / "photos.npy").shape[0] == 24 - len(HELD_OUT)  # each once
    assert np.load(tmp_path / "features.npy").shape[0] == 2 * (24 - len(HELD_OUT))


def test_the_regressor_is_in_the_checkpoint_and_not_in_the_encoder(run: Path) -> None:
    student, config = load_student(run)
    assert config == STUDENT
    assert not [layer.name for layer in student.layers if "regressor" in layer.name]
    kernel = keras.Variable(np.zeros((1, 1, 15, 6), np.float32), name="kernel")
    bias = keras.Variable(np.zeros(6, np.float32), name="bias")
    load_checkpoint(run / DISTILLED, {"regressor/regressor/kernel": kernel, "regressor/regressor/bias": bias})
    assert keras.ops.convert_to_numpy(kernel).any()
    assert set(student.output) == {"features", "logits"}
    assert named_variables(student, "encoder").keys() == named_variables(build_encoder(config), "encoder").keys()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"batch_size": 4}, r"distill\.batch_size"),
        ({"views": 2}, r"distill\.views, targets\.views"),
        ({"map_weight": 0.5}, r"distill\.map_weight"),
    ],
)
def test_other_options_are_refused_and_nothing_is_replaced(
    run: Path, drawn: Path, teacher: Path, changes: dict[str, Any], named: str
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    with pytest.raises(DataError, match=f"differs in {named}; give the same"):
        distill(run, [drawn], HELD_OUT, teacher, STUDENT, replace(CONFIG, **changes))
    assert before == {path.name: path.stat().st_mtime_ns for path in run.iterdir()}


def test_another_student_is_refused(run: Path, drawn: Path, teacher: Path) -> None:
    with pytest.raises(DataError, match=r"differs in encoder\.widths; give the same"):
        distill(run, [drawn], HELD_OUT, teacher, replace(STUDENT, widths=(0.03,) * 4 + (0.05,)), CONFIG)


def test_a_student_goes_on_from_an_earlier_run(run: Path, drawn: Path, teacher: Path, tmp_path: Path) -> None:
    hardly = replace(CONFIG, views=1, epochs=0.4, learning_rate=1e-9, weight_decay=0.0)
    assert distill(tmp_path, [drawn], HELD_OUT, teacher, STUDENT, hardly, start_from=run)
    before, after = (load_student(directory)[0].get_layer("block3_conv1").kernel for directory in (run, tmp_path))
    np.testing.assert_allclose(before.numpy(), after.numpy(), atol=1e-4)  # its warm-up begins at 1e-5
    with pytest.raises(DataError, match=r"differs in start; give the same"):
        distill(tmp_path, [drawn], HELD_OUT, teacher, STUDENT, hardly)


def test_a_student_learns_from_a_network_of_ours(run: Path, drawn: Path, tmp_path: Path) -> None:
    config = EncoderConfig(widths=(0.03,) * 5, fc_units=1280, pooling="average", features="average")
    network = build_encoder(config)
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    save_checkpoint(teacher / BEST, named_variables(network, "encoder"), {"encoder": asdict(config)})
    assert distill(tmp_path / "student", [drawn], HELD_OUT, teacher, STUDENT, CONFIG)
    answers = Targets(tmp_path / "student", find_photos([drawn], HELD_OUT), teacher, CONFIG)
    image = view_of(answers.photos, 5, 1, CONFIG)[None]
    outputs = keras.Model(network.input, [network.get_layer("fc2_relu").output, network.output["logits"]])(image)
    np.testing.assert_allclose(answers.features[5, 1], outputs[0][0], rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(answers.logits[5, 1], outputs[1][0], rtol=1e-2, atol=1e-3)
    with pytest.raises(DataError, match="expected a teacher that sees 224 pixels"):
        load_teacher(run)
    assert answers.maps.shape[2:] == (7, 7, CONFIG.map_components)


def bundle_of(student: keras.Model, config: EncoderConfig, path: Path) -> Path:
    """Writes a bundle of an encoder and an untaught decoder."""
    served = replace(config, batch_norm=False, residual=False, dropout=0.0)
    words = Vocabulary([*SPECIAL, "a", "dog"])
    decoder_config = DecoderConfig(vocabulary_size=len(words), embedding_units=8, units=12)
    decoder = Decoder(decoder_config, served.fc_units)
    classes = tuple(ClassName(f"n{index:08}", f"class {index}") for index in range(served.classes))
    captioner = CaptionerConfig(
        name="early", version="1", encoder=served, decoder=decoder_config, search=SearchConfig()
    )
    save_bundle(path, Bundle(captioner, words, classes, bundle_weights(student, decoder, np.float32)))
    return path


def test_a_student_goes_on_from_a_bundle(run: Path, drawn: Path, teacher: Path, tmp_path: Path) -> None:
    student, config = load_student(run)
    bundle = bundle_of(student, config, tmp_path / "bundle")
    hardly = replace(CONFIG, views=1, epochs=0.4, learning_rate=1e-9, weight_decay=0.0)
    assert distill(tmp_path / "run", [drawn], HELD_OUT, teacher, STUDENT, hardly, start_from=bundle)
    images = np.stack([view_of(Photos(np.load(run / PHOTOS), np.arange(22)), row, 0, CONFIG) for row in range(4)])
    plain = build_encoder(replace(config, batch_norm=False, residual=False, dropout=0.0))
    assign_weights(plain, load_bundle(bundle).weights, "encoder")
    # Its warm-up begins at 1e-5, and its batch norm takes up the statistics of one small batch.
    ours = load_student(tmp_path / "run")[0].predict_on_batch(images)
    theirs = plain.predict_on_batch(images)
    assert np.corrcoef(ours["features"].ravel(), theirs["features"].ravel())[0, 1] > 0.95


def test_a_bundle_of_another_architecture_is_refused(
    drawn: Path, teacher: Path, toy_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="expected a student of the architecture"):
        distill(tmp_path, [drawn], HELD_OUT, teacher, STUDENT, CONFIG, start_from=toy_bundle)


def test_an_earlier_run_of_another_architecture_is_refused(
    run: Path, drawn: Path, teacher: Path, tmp_path: Path
) -> None:
    other = replace(STUDENT, widths=(0.03,) * 4 + (0.05,))
    with pytest.raises(DataError, match="expected a student of the architecture"):
        distill(tmp_path, [drawn], HELD_OUT, teacher, other, CONFIG, start_from=run)
    assert not (tmp_path / STAMP).exists()


def test_a_student_that_does_not_fit_its_teacher_is_refused(drawn: Path, teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fc_units=1280 and classes=1000 like its teacher, received 64 and 1000"):
        distill(tmp_path, [drawn], HELD_OUT, teacher, replace(STUDENT, fc_units=64), replace(CONFIG, views=1))


def test_a_finished_run_has_nothing_left_to_do(run: Path, drawn: Path, teacher: Path) -> None:
    place = read_progress(run / DISTILLED)
    assert place["step"] == place["total"] == round(22 * 3 / 8)
    assert distill(run, [drawn], HELD_OUT, teacher, STUDENT, CONFIG)
    assert read_progress(run / DISTILLED) == place


def test_photos_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"1 cannot; exclude or remove them:\n.*broken\.jpg"):
        read_photos(tmp_path / "photos.npy", [tmp_path / "broken.jpg"])


def test_predicting_the_mean_costs_one() -> None:
    features = np.random.default_rng(1).normal(size=(50, 7), scale=[1, 2, 3, 4, 5, 6, 0.1]).astype(np.float32)
    loss = FeatureLoss(features.var(axis=0))(features, np.tile(features.mean(axis=0), (50, 1)))
    assert float(loss) == pytest.approx(1, rel=1e-3)


def test_equal_classes_cost_nothing_and_others_something() -> None:
    logits = np.random.default_rng(1).normal(size=(4, 9)).astype(np.float32)
    loss = SoftClassLoss(2.0)
    assert float(loss(logits, logits + 3)) == pytest.approx(0, abs=1e-5)
    assert float(loss(logits, -logits)) > 0.1


@pytest.mark.parametrize(
    ("field", "value"),
    [("views", 0), ("smallest_crop", 0.0), ("map_components", 0), ("map_weight", -1.0), ("weight_decay", float("nan"))],
)
def test_an_option_out_of_range_is_named(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"^{field}: expected"):
        DistillConfig(**{field: value})  # type: ignore[arg-type]


def test_the_small_preset_is_what_the_teacher_needs() -> None:
    assert (small().encoder.fc_units, small().encoder.classes) == (1280, 1000)


def lines(directory: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (directory / METRICS).read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


def test_a_run_keeps_figures_curves_and_the_best(drawn: Path, teacher: Path, tmp_path: Path, run: Path) -> None:
    assert distill(tmp_path, [drawn], HELD_OUT, teacher, STUDENT, CONFIG, held_out_steps=3)
    total = round(22 * 3 / 8)
    assert [line["step"] for line in lines(tmp_path, "train")] == [total]
    assert lines(tmp_path, "train")[0].keys() >= {"loss", "features_loss", "logits_loss", "maps_loss", "step_seconds"}
    compared = lines(tmp_path, "dev")
    assert [line["step"] for line in compared] == [3, 6, 8]
    assert (tmp_path / CURVES).read_text().lstrip().startswith("<?xml")
    best = max(compared, key=lambda line: line["correlation"])
    assert read_progress(tmp_path / BEST)["step"] == best["step"]
    assert load_encoder(tmp_path).file == tmp_path / BEST
    assert (run / BEST).exists()


def test_a_run_without_held_out_photos_has_no_best(drawn: Path, teacher: Path, tmp_path: Path) -> None:
    assert distill(tmp_path, [drawn], frozenset(), teacher, STUDENT, replace(CONFIG, views=1))
    assert not (tmp_path / BEST).exists()
    assert load_encoder(tmp_path).file == tmp_path / DISTILLED


def test_a_run_begins_anew_where_that_is_asked_for(drawn: Path, teacher: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, views=1)
    assert distill(tmp_path, [drawn], HELD_OUT, teacher, STUDENT, config)
    answers = (tmp_path / STAMP).stat().st_mtime_ns
    other = replace(config, learning_rate=1e-3)
    assert distill(tmp_path, [drawn], HELD_OUT, teacher, STUDENT, other, anew=True)
    assert read_progress(tmp_path / DISTILLED)["distill"]["learning_rate"] == 1e-3
    assert len(lines(tmp_path, "train")) == 1
    assert (tmp_path / STAMP).stat().st_mtime_ns == answers


def test_an_estimate_says_what_a_run_needs(drawn: Path, teacher: Path) -> None:
    text = estimate_distillation([drawn], HELD_OUT, teacher, STUDENT, CONFIG)
    assert "encoder: " in text
    assert "memory of the process: about " in text
    assert "8 steps, " in text
