"""Runs by the command line that are killed, stopped, starved of disk and fed damaged records.

Starting TensorFlow takes seconds, so a launcher imports everything once and forks into a process for every command.
"""

import json
import random
import shutil
import signal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from model.bundle import ClassName
from model.vocabulary import Vocabulary
from tests.training.processes import Launcher, wait_until
from training.data.captioned import CaptionedImage
from training.data.labelled import LabelledImage
from training.data.records import write_class_records, write_records
from training.loop.checkpoint import BEST
from training.loop.directory import CHECKPOINTS, METRICS, SUMMARIES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

KILLS = 10
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "yellow": (220, 220, 30)}
COMMON = [
    "--devices", "cpu", "--batch-size", "4", "--checkpoint-steps", "2", "--summary-steps", "1",
    "--histogram-steps", "0",
]  # fmt: skip


class Whole(NamedTuple):
    """An uninterrupted run and the command that made it, without `--out`."""

    directory: Path
    command: list[str]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a directory with class records and caption records of the same 40 noisy grounds."""
    root = tmp_path_factory.mktemp("records")
    noise = np.random.default_rng(3)
    labelled = []
    captioned = []
    for index in range(40):
        label = index % 4
        split = "dev" if index >= 32 else "train"
        path = root / f"{index:02}.png"
        colour = list(COLOURS)[label]
        pixels = np.array(COLOURS[colour]) + noise.integers(-20, 20, (48, 64, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
        labelled.append(LabelledImage(path, path.name, label, split))
        sentences = (f"a {colour} field", f"this is all {colour} and nothing else")
        captioned.append(CaptionedImage(path, path.name, sentences, split))
    classes = [ClassName(f"n{index}", name) for index, name in enumerate(COLOURS)]
    write_class_records(root / "classes", labelled, classes, shard_images=8)
    vocabulary = Vocabulary.build([text for image in captioned for text in image.captions], min_count=1)
    write_records(root / "captions", captioned, vocabulary, shard_images=8)
    return root


@pytest.fixture(scope="module")
def classifier(launcher: Launcher, records: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Returns 24 steps of the classifier, with dropout and random crops."""
    command = ["classifier", "--records", str(records / "classes"), *COMMON, "--epochs", "3"]
    command += ["--widths", *["0.03"] * 5, "--input-pooling", "7", "--dropout", "0.3"]
    directory = tmp_path_factory.mktemp("classifier")
    status, log = launcher.run(*command, "--out", str(directory))
    assert status == 0, log
    return Whole(directory, command)


@pytest.fixture(scope="module")
def captioner(launcher: Launcher, records: Path, classifier: Whole, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Returns 32 steps of the decoder by the sampled softmax, with dropout."""
    command = ["captioner", "--records", str(records / "captions"), "--encoder", str(classifier.directory), *COMMON]
    command += ["--epochs", "2", "--dropout", "0.3", "--loss", "sampled", "--negative-samples", "8"]
    directory = tmp_path_factory.mktemp("captioner")
    status, log = launcher.run(*command, "--out", str(directory))
    assert status == 0, log
    return Whole(directory, command)


def newest(directory: Path) -> int:
    """Returns the step of the newest checkpoint; 0 where there is none."""
    names = [path.stem for path in (directory / CHECKPOINTS).glob("step-*.safetensors")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def metrics(directory: Path) -> list[dict[str, Any]]:
    """Returns the lines of figures without those that are times."""
    found = [json.loads(line) for line in (directory / METRICS).read_text().splitlines()]
    return [{name: value for name, value in line.items() if "seconds" not in name} for line in found]


def assert_same_run(directory: Path, whole: Path) -> None:
    """Checks weights, optimizer, place and figures of two runs bit for bit."""
    assert newest(directory) == newest(whole)
    for name in (f"{CHECKPOINTS}/step-{newest(whole):09d}.safetensors", BEST):
        found = load_file(directory / name)
        expected = load_file(whole / name)
        assert found.keys() == expected.keys()
        assert any(key.startswith("optimizer/") for key in expected)
        different = [key for key in expected if found[key].tobytes() != expected[key].tobytes()]
        assert different == []
    assert metrics(directory) == metrics(whole)


def sessions_of(directory: Path) -> list[Path]:
    """Returns TensorBoard's files, one for each time that a run has begun to compute."""
    return list((directory / SUMMARIES).glob("events.*.v2"))


def step_files(directory: Path) -> list[Path]:
    return sorted((directory / CHECKPOINTS).glob("step-*.safetensors"))


def flip_a_byte(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


def start_and_kill(launcher: Launcher, command: list[str], directory: Path, step: int, moment: float) -> None:
    """Kills a run a moment after it has begun to compute and has a checkpoint at or after a step."""
    sessions = len(sessions_of(directory))
    started = launcher.start(*command)
    wait_until(lambda: len(sessions_of(directory)) > sessions and newest(directory) >= step, started)
    assert not started.ended_within(moment), started.told()
    started.send(signal.SIGKILL)
    status, log = started.wait()
    assert status == -signal.SIGKILL, log


@pytest.mark.parametrize("kind", ["classifier", "captioner"])
def test_killed_at_ten_random_moments_a_run_ends_as_if_it_had_not_been(
    kind: str, launcher: Launcher, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    whole: Whole = request.getfixturevalue(kind)
    command = [*whole.command, "--resume", "--out", str(tmp_path)]
    chance = random.Random(7)  # noqa: S311 - no secret
    total = newest(whole.directory)
    for step in sorted(chance.sample(range(total - 2), KILLS)):
        start_and_kill(launcher, command, tmp_path, step, chance.uniform(0, 0.1))
    status, log = launcher.run(*command)
    assert status == 0, log
    assert "continuing from step" in log
    assert_same_run(tmp_path, whole.directory)


def test_a_damaged_checkpoint_costs_only_the_steps_since_the_one_before(
    launcher: Launcher, captioner: Whole, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(captioner.directory, directory)
    *_, before, last = step_files(directory)
    flip_a_byte(last, -1000)
    status, log = launcher.run(*captioner.command, "--out", str(directory))
    assert status == 0, log
    assert f"WARNING: {last}: expected" in log
    assert f"WARNING: continuing from {before} instead" in log
    assert_same_run(directory, captioner.directory)


def test_only_damaged_checkpoints_end_the_run_with_one_line(
    launcher: Launcher, captioner: Whole, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(captioner.directory, directory)
    for path in step_files(directory):
        flip_a_byte(path, -1000)
    status, log = launcher.run(*captioner.command, "--out", str(directory))
    assert (status, "Traceback" in log) == (1, False), log
    assert f"Error: {step_files(directory)[0]}: expected the values that were saved, but the file is damaged" in log


def test_one_flipped_byte_in_a_record_ends_the_run_with_its_file_and_offset(
    launcher: Launcher, records: Path, classifier: Whole, tmp_path: Path
) -> None:
    damaged = tmp_path / "records"
    shutil.copytree(records / "classes", damaged)
    shard = sorted(damaged.glob("train-*.tfrecord"))[2]
    # A record is its length (8 bytes), a checksum of it (4), its bytes, and a checksum of them (4).
    second = 16 + int.from_bytes(shard.read_bytes()[:8], "little")
    flip_a_byte(shard, second + 200)
    command = [str(damaged) if word == str(records / "classes") else word for word in classifier.command]
    status, log = launcher.run(*command, "--out", str(tmp_path / "run"))
    assert (status, "Traceback" in log) == (1, False), log
    assert f"Error: {shard}: record at byte {second} is damaged" in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_writes_a_checkpoint_and_exits_with_130(
    launcher: Launcher, classifier: Whole, tmp_path: Path, number: int
) -> None:
    command = [*classifier.command, "--out", str(tmp_path)]
    started = launcher.start(*command)
    wait_until(lambda: newest(tmp_path) >= 2, started)
    started.send(number)
    status, log = started.wait()
    assert (status, "Traceback" in log) == (130, False), log
    assert "stopping after this step; call the command again" in log
    assert metrics(tmp_path) == metrics(classifier.directory)[: len(metrics(tmp_path))]
    assert metrics(tmp_path)[-1]["step"] == newest(tmp_path) < newest(classifier.directory)
    if number == signal.SIGTERM:
        status, log = launcher.run(*command)
        assert status == 0, log
        assert_same_run(tmp_path, classifier.directory)


def test_a_full_disk_ends_the_run_with_one_line_and_leaves_the_older_checkpoints(
    launcher: Launcher, captioner: Whole, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(captioner.directory, directory)
    *older, last = step_files(directory)
    last.unlink()
    content = [path.read_bytes() for path in older]
    command = [*captioner.command, "--out", str(directory)]
    status, log = launcher.run(*command, most_bytes=1_000_000)
    assert (status, "Traceback" in log) == (1, False), log
    # The last step ends an epoch: where that is the best on dev, `best` is what is written first.
    failed = [path for path in (directory / BEST, last) if f"Error: {path}: expected to write a checkpoint" in log]
    assert len(failed) == 1, log
    assert "File too large; free some space" in log
    assert [path.read_bytes() for path in step_files(directory)] == content
    assert sorted((directory / CHECKPOINTS).iterdir()) == older
    status, log = launcher.run(*command)
    assert status == 0, log
    assert_same_run(directory, captioner.directory)


def test_an_estimate_prints_what_a_run_needs_and_writes_nothing(
    launcher: Launcher, classifier: Whole, tmp_path: Path
) -> None:
    status, log = launcher.run(*classifier.command, "--out", str(tmp_path / "run"), "--estimate")
    assert status == 0, log
    expected = ("encoder: ", " parameters", "memory of the process: about ", "8 steps an epoch, ", "3 epochs, ")
    assert [text for text in expected if text not in log] == []
    assert not (tmp_path / "run").exists()
