"""The whole way from drawn photos to a served bundle, by the commands that a person types, at toy size."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.bundle import BundleInfo, ClassName, load_bundle
from model.captioner import Captioner
from model.config import CaptionerConfig, SearchConfig
from model.errors import DataError
from model.image import read_image
from model.presets import small
from tests.conftest import wait_until
from tests.training.processes import terminated_when
from training.config import CaptionerTrainingConfig, DistillConfig, OptimizerConfig, RunConfig
from training.data.records import VOCABULARY
from training.decoder.earlier import new_decoder
from training.decoder.features import load_features
from training.decoder.tasks import DecoderTask
from training.encoder.distill import distill
from training.encoder.sources import load_encoder, load_student
from training.loop.checkpoint import BEST, load_checkpoint, named_variables, read_progress, save_checkpoint
from training.loop.directory import CHECKPOINTS, DISTILLED, METRICS, SUMMARIES
from training.loop.replicas import Replicas
from training.loop.run import train_task
from training.provenance import stage
from training.shipping.export import assemble, export

# A clock decides whether matplotlib says so, on a busy machine.
pytestmark = pytest.mark.slow

TRAINING = CaptionerTrainingConfig(epochs=8, batch_size=16, optimizer=OptimizerConfig(learning_rate=0.02))
RUN = RunConfig(summary_steps=1, histogram_steps=0)
CLASSES = tuple(ClassName(f"n{index:08}", f"class_{index}") for index in range(1000))
DISTILLING = DistillConfig(views=2, batch_size=8, epochs=1.0)


def toy_preset() -> CaptionerConfig:
    """Returns the small preset at a size that trains in seconds; the teacher fixes the features and classes."""
    config = small()
    encoder = replace(config.encoder, widths=(0.03,) * 5, input_pooling=4)
    return replace(config, encoder=encoder, decoder=replace(config.decoder, embedding_units=16, units=24, dropout=0.1))


class Runs(NamedTuple):
    """The directories of the stages."""

    root: Path
    records: Path
    encoder: Path
    captioner: Path


def decoder_task(runs: Runs, training: CaptionerTrainingConfig = TRAINING) -> DecoderTask:
    """Returns the task of the decoder's stage on one device."""
    replicas = Replicas(tf.distribute.get_strategy(), 1, 1)
    return DecoderTask(runs.encoder, runs.records, toy_preset(), training, replicas)


@pytest.fixture(scope="module")
def runs(drawn: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Returns run directories in which every stage has been run to its end."""
    root = tmp_path_factory.mktemp("runs")
    made = Runs(root, root / "records", root / "encoder", root / "captioner")
    command = [sys.executable, "-m", "training.cli", "prepare", "folder", str(drawn)]
    command += ["--out", str(made.records), "--min-count", "1", "--dev-fraction", "0.3"]
    subprocess.run(command, check=True, capture_output=True)
    assert distill(made.encoder, [drawn], frozenset({"photo-00.jpg"}), teacher, toy_preset().encoder, DISTILLING)
    assert train_task(made.captioner, decoder_task(made), RUN)
    yield made
    keras.config.set_dtype_policy("float32")


def assert_same_weights(one: keras.Model, two: keras.Model) -> None:
    for first, second in zip(one.trainable_variables, two.trainable_variables, strict=True):
        a, b = (keras.ops.convert_to_numpy(value) for value in (first, second))
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_distilling_stopped_and_resumed_is_distilling_in_one_go(
    drawn: Path, teacher: Path, runs: Runs, tmp_path: Path
) -> None:
    arguments = (tmp_path, [drawn], frozenset({"photo-00.jpg"}), teacher, toy_preset().encoder, DISTILLING)
    with terminated_when((tmp_path / DISTILLED).exists):
        assert not distill(*arguments, run_config=RunConfig(checkpoint_steps=2))
    assert 2 <= read_progress(tmp_path / DISTILLED)["step"] < 6
    assert distill(*arguments)
    assert_same_weights(load_student(runs.encoder)[0], load_student(tmp_path)[0])


def lines(directory: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (directory / METRICS).read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


def test_training_learns_and_keeps_its_figures(runs: Runs) -> None:
    dev = lines(runs.captioner, "dev")
    assert [line["epoch"] for line in dev] == list(range(1, TRAINING.epochs + 1))
    assert dev[-1]["loss"] < dev[0]["loss"]
    assert all(line["perplexity"] == pytest.approx(np.exp(line["loss"]), rel=1e-4) for line in dev)
    assert read_progress(runs.captioner / BEST)["best"] == pytest.approx(max(line["CIDEr"] for line in dev), rel=1e-4)


def test_tensorboard_shows_dev_photos_over_their_captions(runs: Runs) -> None:
    events = EventAccumulator(str(runs.captioner / SUMMARIES), size_guidance={"tensors": 0})
    events.Reload()
    shown = [tag for tag in events.Tags()["tensors"] if tag.startswith("dev/") and tag[4:].isdigit()]
    assert shown == ["dev/0", "dev/1", "dev/2", "dev/3"]
    assert len(events.Tensors("dev/0")) == TRAINING.epochs
    picture = tf.io.decode_png(events.Tensors("dev/0")[-1].tensor_proto.string_val[2]).numpy()
    assert picture.shape == (224 + 46, 224, 3)
    assert (picture[224:] < 128).any()


def test_training_stopped_and_resumed_is_training_in_one_go(runs: Runs, tmp_path: Path) -> None:
    with terminated_when((tmp_path / BEST).exists):
        assert not train_task(tmp_path, decoder_task(runs), RUN)
    assert train_task(tmp_path, decoder_task(runs), RUN)
    networks = []
    for directory in (runs.captioner, tmp_path):
        config = CaptionerConfig.from_json((directory / "config.json").read_text())
        decoder = new_decoder(config)
        load_checkpoint(sorted((directory / CHECKPOINTS).iterdir())[-1], named_variables(decoder, "decoder"))
        networks.append(decoder)
    assert_same_weights(*networks)
    assert [line["step"] for line in lines(tmp_path, "train")] == [
        line["step"] for line in lines(runs.captioner, "train")
    ]


def test_resuming_with_other_options_is_refused(runs: Runs) -> None:
    with pytest.raises(DataError, match=r"differs in training\.batch_size; give the same"):
        train_task(runs.captioner, decoder_task(runs, replace(TRAINING, batch_size=8)), RUN)


def test_features_are_computed_once_and_are_those_of_the_encoder(runs: Runs, drawn: Path) -> None:
    kept = {path: path.stat().st_mtime_ns for path in (runs.records / "features").iterdir()}
    assert len(kept) == 2
    dev = load_features(runs.encoder, runs.records, "dev")
    assert {path: path.stat().st_mtime_ns for path in (runs.records / "features").iterdir()} == kept
    encoder = load_encoder(runs.encoder).network
    image = read_image((drawn / dev.names[0]).read_bytes()).pixels
    views = np.stack([image, image[:, ::-1]])
    np.testing.assert_allclose(dev.features[0], encoder(views, training=False)["features"], rtol=1e-3, atol=1e-4)
    assert len(dev.rows) == 2 * len(dev.names) == len(dev.captions)
    assert (runs.captioner / VOCABULARY).read_bytes() == (runs.records / VOCABULARY).read_bytes()


def test_the_exported_bundle_says_what_the_trained_networks_say(runs: Runs, drawn: Path, tmp_path: Path) -> None:
    bundle = assemble(runs.encoder, runs.captioner, runs.records, CLASSES)
    stages = {"prepare": stage(runs.records)}
    search = SearchConfig(beam_size=2, max_words=6)
    path = tmp_path / "bundle"
    card = {"data": "drawings", "good_at": "rings", "bad_at": ""}
    result = export(path, bundle, runs.records, stages, name="toy", version="3", card=card, search=search)
    config, _, _, has_lite_files, _ = BundleInfo.from_bundle(path)
    assert has_lite_files
    assert set(config.provenance["parity"]) == {"captions", "classes", "BLEU-4", "BLEU-4 of the CPU engine"}
    assert result is not None
    assert config.scores == {"dev": result.scores}
    assert {name: config.provenance.get(name) for name in card} == {
        "data": "drawings",
        "good_at": "rings",
        "bad_at": None,
    }
    assert config.provenance["stages"]["prepare"]["commands"][0].startswith("showtell-train prepare folder")
    assert not config.encoder.batch_norm
    rounded = {name for name, value in load_bundle(path).weights.items() if value.dtype == np.float32}
    assert all(name.startswith("encoder/") and name.endswith("/kernel") for name in rounded)
    assert {f"encoder/fc2/{part}" for part in ("kernel", "bias")} & rounded == {"encoder/fc2/kernel"}
    encoder = load_encoder(runs.encoder).network
    captioner = Captioner.load(path)
    photo = sorted(drawn.glob("*.jpg"))[1]
    pixels = read_image(photo.read_bytes()).pixels[None]
    logits = np.asarray(encoder(pixels, training=False)["logits"])[0]
    best = captioner.predict(pixels, classes=1)[0].classes[0]
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert best.probability == pytest.approx(float(probabilities.max()), rel=0.02)


def test_export_refuses_a_decoder_of_another_encoder(runs: Runs, tmp_path: Path) -> None:
    shutil.copytree(runs.encoder, tmp_path / "encoder")
    encoder, config, file = load_encoder(runs.encoder)
    encoder.get_layer("fc2").bias.assign_add(np.ones(config.fc_units))
    variables = named_variables(encoder, "encoder")
    save_checkpoint(tmp_path / "encoder" / file.name, variables, read_progress(file))
    with pytest.raises(DataError, match="belong together"):
        assemble(tmp_path / "encoder", runs.captioner, runs.records, CLASSES)


def test_export_refuses_a_directory_that_is_no_trained_decoder(runs: Runs) -> None:
    with pytest.raises(DataError, match="run `showtell-train captioner`"):
        assemble(runs.encoder, runs.records, runs.records, ())


def test_export_killed_leaves_the_old_bundle_or_the_new_one(runs: Runs, tmp_path: Path) -> None:
    classes = tmp_path / "classes.json"
    classes.write_text(json.dumps([{"id": c.id, "label": c.label} for c in CLASSES]))
    out = tmp_path / "bundle"
    command = [sys.executable, "-m", "training.cli", "export", "--records", str(runs.records)]
    command += ["--encoder", str(runs.encoder), "--captioner", str(runs.captioner), "--classes", str(classes)]
    command += ["--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # Killed when the first file of the new bundle is being written.
    wait_until(lambda: process.poll() is not None or any(tmp_path.glob(".bundle.*/*")), 240)
    process.kill()
    process.wait()
    if out.exists():
        BundleInfo.from_bundle(out)
    subprocess.run(command, check=True, capture_output=True)
    assert BundleInfo.from_bundle(out).config.scores["dev"]["distinct captions"] >= 1
