"""A run always ends, with the right status and one line, whatever TensorFlow's threads do then."""

import shutil
import signal
from pathlib import Path

import pytest
import tensorflow as tf

from tests.training.processes import Command, Launcher, wait_until
from tests.training.toys import KERAS_RUNS, RUNS, Toys
from training.loop.directory import CHECKPOINTS, DISTILLED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

TIMES = 20
UNREADABLE = b"\xff\xd8\xff this is no photo"


def with_unreadable_photo(records: Path, to: Path, split: str = "train", number: int = 2) -> str:
    """Copies records, with one photo that cannot be decoded; returns how an error must begin."""
    shutil.copytree(records, to)
    shard = sorted(to.glob(f"{split}-*.tfrecord"))[0]
    found = [record.numpy() for record in tf.data.TFRecordDataset(str(shard))]
    example = tf.train.Example.FromString(found[number])
    example.features.feature["image"].bytes_list.value[:] = [UNREADABLE]
    name = example.features.feature["name"].bytes_list.value[0].decode()
    found[number] = example.SerializeToString()
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for record in found:
            writer.write(record)
    offset = sum(16 + len(record) for record in found[:number])
    return f"Error: {shard}: record at byte {offset} holds the photo {name}, which cannot be decoded: "


def with_records(words: list[str], records: Path) -> list[str]:
    """Returns a command with other records."""
    place = words.index("--records") + 1
    return [*words[:place], str(records), *words[place + 1 :]]


@pytest.fixture(scope="module")
def unreadable(toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], str]:
    """Returns a command whose records have a photo that cannot be decoded, and how its error must begin."""
    root = tmp_path_factory.mktemp("unreadable")
    expected = with_unreadable_photo(toys.classes, root / "classes", number=0)  # in the first batch
    return [*with_records(toys.commands["classifier"], root / "classes"), "--shuffle-buffer", "1"], expected


def assert_one_error(log: str, expected: str) -> None:
    (line,) = [line for line in log.splitlines() if line.startswith("Error: ")]
    assert line.startswith(expected), log
    assert "Traceback" not in log, log


def test_a_photo_that_cannot_be_decoded_ends_the_run_with_its_place_twenty_times(
    unreadable: tuple[list[str], str], launcher: Launcher, tmp_path: Path
) -> None:
    command, expected = unreadable
    for number in range(TIMES):
        status, log = launcher.run(*command, "--out", str(tmp_path / str(number)))
        assert status == 1, log
        assert_one_error(log, expected)


def test_the_process_of_the_command_line_ends_then_too(unreadable: tuple[list[str], str], tmp_path: Path) -> None:
    command, expected = unreadable
    started = Command(tmp_path / "log", *command, "--out", tmp_path / "run")
    assert started.ended() == 1
    assert_one_error(started.told(), expected)


@pytest.mark.parametrize("name", ["classifier", "finetune", "captioner"])
@pytest.mark.parametrize("split", ["train", "dev"])
def test_every_command_that_decodes_photos_names_one_that_cannot_be(
    name: str, split: str, toys: Toys, launcher: Launcher, tmp_path: Path
) -> None:
    records = toys.classes if name == "classifier" else toys.records
    expected = with_unreadable_photo(records, tmp_path / "records", split)
    if name == "captioner":
        shutil.rmtree(tmp_path / "records" / "features", ignore_errors=True)
    command = with_records(toys.commands[name], tmp_path / "records")
    status, log = launcher.run(*command, "--out", str(tmp_path / "run"))
    assert status == 1, log
    assert_one_error(log, expected)


def test_a_stop_writes_its_checkpoint_and_ends_twenty_times(toys: Toys, launcher: Launcher, tmp_path: Path) -> None:
    """The photos are still being decoded when the signal comes."""
    command = [*toys.commands["classifier"], "--epochs", "1000", "--prefetch", "64", "--threads", "8"]
    for number in range(TIMES):
        directory = tmp_path / str(number)
        started = launcher.start(*command, "--checkpoint-steps", "100000", "--out", str(directory))
        wait_until(lambda run=started: "epoch 1/" in run.told(), started)  # type: ignore[misc]
        started.send(signal.SIGTERM)
        status, log = started.wait()
        assert status == 130, log
        assert "Traceback" not in log, log
        assert any((directory / CHECKPOINTS).glob("step-*.safetensors")), log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", [*RUNS, *KERAS_RUNS])
def test_every_command_that_is_stopped_says_130_and_goes_on(
    name: str, number: int, toys: Toys, launcher: Launcher, tmp_path: Path
) -> None:
    kept = {"distill-top": tmp_path / DISTILLED}
    long = [*toys.commands[name], "--epochs", "100", "--checkpoint-steps", "1", "--out", str(tmp_path)]
    started = launcher.start(*long)
    wait_until(lambda: kept[name].exists() if name in kept else any((tmp_path / CHECKPOINTS).glob("step-*")), started)
    started.send(number)
    status, log = started.wait()
    assert (status, "Traceback" in log) == (130, False), log
    assert "stopping after this step; call the command again" in log
