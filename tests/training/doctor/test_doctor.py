"""`showtell-train doctor` on toy runs: one that is well, and copies of it that are made ill."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from model.bundle import CONFIG, Bundle, save_bundle
from model.config import CaptionerConfig, EncoderConfig, SearchConfig
from model.vocabulary import Vocabulary
from tests.training.conftest import COLOURS, SHAPES, draw
from tests.training.stages import CLASSES, Stages, read_folder, train_stages
from training.cli import main
from training.config import CaptionerTrainingConfig, OptimizerConfig
from training.data.captioned import CaptionedImage
from training.data.records import write_records
from training.decoder.earlier import load_decoder
from training.decoder.features import load_features
from training.encoder.sources import load_encoder
from training.loop.checkpoint import BEST, named_variables, read_progress, save_checkpoint
from training.provenance import recorded
from training.shipping.convert import Converted, convert
from training.shipping.export import assemble

# A clock decides whether matplotlib says so, on a busy machine.
pytestmark = pytest.mark.slow

ENCODER = EncoderConfig(
    widths=(0.05,) * 5, fc_units=24, normalization="unit", input_pooling=4, batch_norm=True, pooling="average",
    dropout=0.0,
)  # fmt: skip
TRAINING = CaptionerTrainingConfig(epochs=18, batch_size=16, optimizer=OptimizerConfig(learning_rate=0.02))


class Healthy(NamedTuple):
    """A run that is well, with its bundle and the photos that it was trained on."""

    stages: Stages
    bundle: Bundle
    converted: Converted
    bundle_path: Path
    images: list[CaptionedImage]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder of 48 drawn photos with two captions each."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(48):
        colour = COLOURS[index % 4]
        shape = SHAPES[index // 4 % 2]
        draw(folder / f"photo-{index:02}.jpg", colour, shape, index)
        (folder / f"photo-{index:02}.txt").write_text(f"a {colour} {shape}\nthere is a {colour} {shape} here\n")
    return folder


@pytest.fixture(scope="module")
def healthy(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Healthy]:
    root = tmp_path_factory.mktemp("healthy")
    stages = train_stages(root, photos, ENCODER, 12, TRAINING)
    note(stages.captioner, stages.records, stages.encoder)
    assembled = assemble(stages.encoder, stages.captioner, stages.records, CLASSES)
    assembled = replace(assembled, config=replace(assembled.config, search=SearchConfig(beam_size=2, max_words=10)))
    converted = convert(assembled)
    kernels = {name: kernel.kernel for name, kernel in converted.kernels.items()}
    bundle = replace(assembled, weights={**assembled.weights, **kernels})
    save_bundle(root / "bundle", bundle, converted.files, converted.kernels)
    yield Healthy(stages, bundle, converted, root / "bundle", read_folder(photos, dev_fraction=0.3))
    keras.config.set_dtype_policy("float32")


def note(run: Path, records: Path, encoder: Path, *options: str) -> None:
    command = ["showtell-train", "captioner", "--records", str(records), f"--encoder={encoder}", *options]
    with recorded(run, command):
        pass


def doctor(*words: object) -> Result:
    return CliRunner().invoke(main, ["doctor", *map(str, words)], prog_name="showtell-train")


def examined(*words: object) -> dict[str, dict[str, Any]]:
    """Returns the findings by the checks' names; nothing of the doctor's may have failed."""
    result = doctor(*words, "--json")
    assert result.exit_code in (0, 1), result.output
    report = json.loads(result.stdout)
    assert result.exit_code == (report["verdict"] == "wrong")
    return {finding["check"]: finding for finding in report["checks"]}


def having(findings: dict[str, dict[str, Any]], *verdicts: str) -> set[str]:
    return {name for name, finding in findings.items() if finding["verdict"] in verdicts}


def snapshot(directory: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(directory.rglob("*"))}


INT8 = {"captions of float and int8", "classes of float and int8"}
MODEL = {"distinct captions", "features as in training", "features vary", "commonest class"}
DATA = {"unknown words", "captions cut", "same photos in train and dev", "same sentences in train and dev"}


def test_a_healthy_run_and_its_bundle_and_records_have_nothing_wrong(healthy: Healthy) -> None:
    stages = healthy.stages
    before = {path: snapshot(path) for path in (*stages, healthy.bundle_path)}
    run = examined(stages.captioner)
    assert having(run, "look", "wrong") == set(), run
    assert having(run, "not done") == INT8
    bundle = examined(healthy.bundle_path, "--records", stages.records)
    assert (having(bundle, "look", "wrong"), having(bundle, "not done")) == (set(), set()), bundle
    records = examined(stages.records)
    assert having(records, "look", "wrong") == set(), records
    assert having(records, "not done") >= MODEL
    assert having(records, "fine") >= DATA
    encoder = examined(stages.encoder, "--records", stages.records)
    assert having(encoder, "look", "wrong") == set(), encoder
    assert {"features vary", "commonest class", "dead units"} <= having(encoder, "fine")
    assert {path: snapshot(path) for path in before} == before, "something was written"


def deaf(healthy: Healthy, root: Path) -> list[object]:
    """A decoder that does not see the photo: its projection is zero."""
    run = root / "run"
    shutil.copytree(healthy.stages.captioner, run)
    decoder = load_decoder(run, CaptionerConfig.from_json((run / CONFIG).read_text()))
    assert decoder.projection is not None
    decoder.projection.kernel.assign(np.zeros(decoder.projection.kernel.shape))
    save_checkpoint(run / BEST, named_variables(decoder, "decoder"), read_progress(run / BEST))
    return [run]


def flat(healthy: Healthy, root: Path) -> list[object]:
    """An encoder whose second FC layer is dead, and whose classes follow from their biases alone."""
    run = root / "run"
    shutil.copytree(healthy.stages.encoder, run)
    encoder, _, file = load_encoder(run)
    norm = encoder.get_layer("fc2_bn")
    norm.gamma.assign(np.zeros(norm.gamma.shape))
    encoder.get_layer("predictions").bias.assign([0.0, 9.0, 0.0, 0.0])
    save_checkpoint(file, named_variables(encoder, "encoder"), read_progress(file))
    return [run, "--records", healthy.stages.records]


def strange(healthy: Healthy, root: Path) -> list[object]:
    """The run with another encoder than its own."""
    flat(healthy, root)
    return [healthy.stages.captioner, "--encoder", root / "run"]


def skewed(healthy: Healthy, root: Path) -> list[object]:
    """A bundle that says another normalisation than its encoder was trained with."""
    encoder = replace(healthy.bundle.config.encoder, normalization="caffe")
    save_bundle(root / "bundle", replace(healthy.bundle, config=replace(healthy.bundle.config, encoder=encoder)))
    return [root / "bundle", "--records", healthy.stages.records]


def skewed_to_its_encoder(healthy: Healthy, root: Path) -> list[object]:
    """The same beside records that have kept no features."""
    path = skewed(healthy, root)[0]
    shutil.copytree(healthy.stages.records, root / "records", ignore=shutil.ignore_patterns("features"))
    return [path, "--records", root / "records", "--encoder", healthy.stages.encoder]


def spoiled(healthy: Healthy, root: Path) -> list[object]:
    """A bundle whose CPU engine's files are of other weights."""
    other = {name: np.flip(value, axis=0).copy() for name, value in healthy.bundle.weights.items()}
    files = convert(replace(healthy.bundle, weights=other)).files
    save_bundle(root / "bundle", healthy.bundle, files)
    return [root / "bundle", "--records", healthy.stages.records]


def in_two_splits(healthy: Healthy, root: Path) -> list[object]:
    """Records with photos of dev in train too, one as it is and some in another format."""
    dev = [image for image in healthy.images if image.split == "dev"]
    doubles = [replace(dev[0], name="double.jpg", split="train")]
    for number, image in enumerate(dev[1:4]):
        path = root / f"again-{number}.png"
        Image.open(image.path).save(path)
        doubles.append(CaptionedImage(path, path.name, image.captions, "train"))
    write_records(root / "records", [*healthy.images, *doubles], healthy.bundle.vocabulary)
    for split in ("train", "dev"):
        load_features(healthy.stages.encoder, root / "records", split)
    return [healthy.bundle_path, "--records", root / "records"]


def unspeakable(healthy: Healthy, root: Path) -> list[object]:
    """Records whose vocabulary has two words, and whose captions are cut at two."""
    write_records(root / "records", healthy.images, Vocabulary.build(["a red"]), max_words=2)
    return [root / "records"]


ILLNESSES: tuple[tuple[Callable[[Healthy, Path], list[object]], set[str]], ...] = (
    (deaf, {"distinct captions", "commonest caption", "decoder sees the photo"}),
    (flat, {"features vary", "dead units", "photos with equal features", "commonest class", "classes in use"}),
    (strange, {"parts that do not fit"}),
    (skewed, {"features as in training", "largest difference of features"}),
    (skewed_to_its_encoder, {"features as in training", "largest difference of features"}),
    (spoiled, INT8),
    (in_two_splits, {"same photos in train and dev", "near-same photos in train and dev"}),
    (unspeakable, {"unknown words", "captions with an unknown word", "captions cut"}),
)


@pytest.mark.parametrize(("make_ill", "expected"), ILLNESSES, ids=[ill.__name__ for ill, _ in ILLNESSES])
def test_an_illness_is_named(
    healthy: Healthy, tmp_path: Path, make_ill: Callable[[Healthy, Path], list[object]], expected: set[str]
) -> None:
    findings = examined(*make_ill(healthy, tmp_path))
    assert having(findings, "look", "wrong") >= expected, findings
    assert having(findings, "wrong") & expected


def test_a_table_shows_verdicts_and_next_steps(healthy: Healthy, tmp_path: Path) -> None:
    result = doctor(*deaf(healthy, tmp_path), "--photos", 5)
    assert result.exit_code == 1
    assert "wrong: distinct captions: see what is said of decoder and features" in result.stdout
    assert "only a bundle has files of the CPU engine; give the bundle that `export` wrote" in result.stdout
    assert "networks were run on 5 photos of dev chosen by seed 0" in result.stdout


def test_fewer_photos_are_read_if_so_asked_and_the_same_for_a_seed(healthy: Healthy) -> None:
    one, again, other = (
        examined(healthy.bundle_path, "--records", healthy.stages.records, "--photos", 6, "--seed", seed)
        for seed in (1, 1, 2)
    )
    assert one == again
    assert one["commonest class"]["text"] != other["commonest class"]["text"] or one != other
    assert "for 6 photos" in one["distinct captions"]["text"]


def test_a_run_whose_records_are_gone_says_what_to_give(healthy: Healthy, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(healthy.stages.captioner, run)
    (run / "run.json").unlink()
    note(run, tmp_path / "gone", healthy.stages.encoder, "--devices", "cpu:2")
    found = examined(run)
    assert (found["unknown words"]["text"], found["unknown words"]["next_step"]) == (
        "the run names no records that are there",
        "give --records",
    )
    assert having(found, "look", "wrong") <= {"GPUs unused"}


def no_epoch(_: Healthy, root: Path) -> Path:
    (root / "metrics.jsonl").write_text("")
    return root


def half_prepared(_: Healthy, root: Path) -> Path:
    (root / "plan.json").write_text("")
    return root


def damaged(healthy: Healthy, root: Path) -> Path:
    shutil.copytree(healthy.bundle_path, root / "bundle")
    file = root / "bundle" / "encoder.tflite"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    return root / "bundle"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _, root: root, "expected a run directory, a bundle or finished records, found none of these"),
        (lambda _, root: root / "missing", "does not exist"),
        (no_epoch, "let the run finish its first epoch"),
        (half_prepared, "run `showtell-train prepare` to its end"),
        (damaged, "encoder.tflite"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(
    healthy: Healthy, tmp_path: Path, make: Callable[[Healthy, Path], Path], message: str
) -> None:
    result = doctor(make(healthy, tmp_path))
    assert result.exit_code == 2, result.output
    assert message in result.stderr.splitlines()[-1]
