import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from types import MethodType

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from model.bundle import ClassName
from model.errors import DataError
from model.image import read_image
from model.vocabulary import Vocabulary
from tests.conftest import wait_until
from tests.training.stages import read_folder
from training.data.captioned import CaptionedImage
from training.data.labelled import LabelledImage, read_image_folder
from training.data.pipeline import ImageRecord, image_batches, split_batches
from training.data.records import (
    check_kind,
    read_index,
    read_kind,
    read_record_classes,
    shard_paths,
    write_class_records,
    write_records,
)
from training.data.shards import THREADS
from training.progress import StopRequest

CLASSES = tuple(ClassName(f"n{index}", f"class {index}") for index in range(5))


def captions_of(images: list[CaptionedImage]) -> list[str]:
    return [caption for image in images for caption in image.captions]


def examples(directory: Path, split: str) -> list[tuple[str, bytes]]:
    """Reads the name and image of every record, with TensorFlow's own parser alone."""
    found = []
    for record in tf.data.TFRecordDataset(shard_paths(directory, split)):
        feature = tf.train.Example.FromString(record.numpy()).features.feature
        found.append((feature["name"].bytes_list.value[0].decode(), feature["image"].bytes_list.value[0]))
    return found


def labels(directory: Path, split: str) -> list[int]:
    records = tf.data.TFRecordDataset(shard_paths(directory, split))
    parsed = (tf.train.Example.FromString(record.numpy()).features.feature["label"] for record in records)
    return [feature.int64_list.value[0] for feature in parsed]


def labelled(drawn: Path, count: int = 6) -> list[LabelledImage]:
    photos = sorted(drawn.glob("*.jpg"))[:count]
    return [LabelledImage(path, path.name, index % len(CLASSES), "train") for index, path in enumerate(photos)]


def test_records_give_back_what_was_written(drawn: Path, tmp_path: Path) -> None:
    images = read_folder(drawn, dev_fraction=0.3)
    vocabulary = Vocabulary.build(captions_of(images))
    write_records(tmp_path, images, vocabulary, shard_images=5)
    for split in ("train", "dev"):
        expected = [image for image in images if image.split == split]
        batches = [ImageRecord(*batch) for batch in image_batches(tmp_path, split, 4)]
        names = [name.decode() for batch in batches for name in batch.names.numpy()]
        assert names == [image.name for image in expected]
        pixels = np.concatenate([batch.images.numpy() for batch in batches])
        assert np.array_equal(pixels[1], read_image(expected[1].path.read_bytes()).pixels)
        tokens = [row for batch in batches for row in batch.tokens.to_list()]
        assert tokens == [[vocabulary.encode(caption) for caption in image.captions] for image in expected]


def test_an_unreadable_photo_is_skipped_and_named(drawn: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"not a photo")
    images = [*read_folder(drawn, dev_fraction=0.0), CaptionedImage(bad, "bad.jpg", ("a bad photo",), "train")]
    shards = write_records(tmp_path / "records", images, Vocabulary.build(captions_of(images)))
    assert shards is not None
    assert shards[0].records == 24
    assert [line.split(":")[0] for line in shards[0].skipped] == [str(bad)]


def test_other_photos_do_not_go_into_the_same_directory(drawn: Path, tmp_path: Path) -> None:
    images = read_folder(drawn)
    vocabulary = Vocabulary.build(captions_of(images))
    write_records(tmp_path, images, vocabulary)
    with pytest.raises(DataError, match="another directory"):
        write_records(tmp_path, images[1:], vocabulary)


def test_a_directory_without_index_is_incomplete(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run `showtell-train prepare`"):
        shard_paths(tmp_path, "train")


def test_a_damaged_record_stops_the_reading(drawn: Path, tmp_path: Path) -> None:
    images = read_folder(drawn, dev_fraction=0.0)
    write_records(tmp_path, images, Vocabulary.build(captions_of(images)))
    shard = Path(shard_paths(tmp_path, "train")[0])
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(tf.errors.DataLossError):
        list(image_batches(tmp_path, "train", 4))


def has_shards_or_ended(process: subprocess.Popen[bytes], out: Path, wanted: int) -> bool:
    return process.poll() is not None or len(list(out.glob("*.tfrecord"))) >= wanted


@pytest.mark.slow
@pytest.mark.parametrize("options", [("folder", "--min-count", "1"), ("image-folder",)])
def test_prepare_killed_at_any_moment_leaves_nothing_that_looks_whole_and_goes_on(
    drawn: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    out = tmp_path / "records"
    # Both sources read it: captions beside the photos, and one class that holds them all.
    shutil.copytree(drawn, tmp_path / "source" / "all")
    command = [sys.executable, "-m", "training.cli", "prepare", *options, str(tmp_path / "source"), "--out", str(out)]
    command += ["--shard-images", "1", "--dev-fraction", "0.3"]
    for wanted in (1, 7):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Killed while it writes: as soon as so many shards are there.
        wait_until(partial(has_shards_or_ended, process, out, wanted), 240)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if not (out / "index.json").exists():
            with pytest.raises(DataError, match="finished records"):
                read_index(out)
    subprocess.run(command, check=True, capture_output=True)
    assert sum(shard.records for shard in read_index(out)) == 24
    assert sum(len(examples(out, split)) for split in ("train", "dev")) == 24


def test_photos_that_were_missing_are_picked_up_by_the_next_run(drawn: Path, tmp_path: Path) -> None:
    absent = CaptionedImage(tmp_path / "later.jpg", "later.jpg", ("a late photo",), "train")
    images = [*read_folder(drawn, dev_fraction=0.0), absent]
    vocabulary = Vocabulary.build(captions_of(images))
    first = write_records(tmp_path / "records", images, vocabulary, shard_images=10)
    absent.path.write_bytes((drawn / "photo-00.jpg").read_bytes())
    second = write_records(tmp_path / "records", images, vocabulary, shard_images=10)
    assert first is not None
    assert second is not None
    assert [shard.records for shard in first] == [10, 10, 4]
    assert [shard.records for shard in second] == [10, 10, 5]


def test_no_readable_photo_at_all_is_an_error_and_no_index(tmp_path: Path) -> None:
    images = [CaptionedImage(tmp_path / "nowhere.jpg", "nowhere.jpg", ("a photo",), "train")]
    with pytest.raises(DataError, match="check the path"):
        write_records(tmp_path / "records", images, Vocabulary.build(["a photo"]))
    with pytest.raises(DataError, match="finished records"):
        read_index(tmp_path / "records")


def test_captions_without_a_word_are_left_out(drawn: Path, tmp_path: Path) -> None:
    image = CaptionedImage(drawn / "photo-00.jpg", "photo-00.jpg", ("!!!", "a red square"), "train")
    write_records(tmp_path, [image], Vocabulary.build(["a red square"]))
    (batch,) = image_batches(tmp_path, "train", 4)
    assert batch.tokens.to_list() == [[[3, 4, 5, 1]]]


def test_an_emptied_shard_is_named(drawn: Path, tmp_path: Path) -> None:
    images = read_folder(drawn, dev_fraction=0.0)
    write_records(tmp_path, images, Vocabulary.build(captions_of(images)))
    Path(shard_paths(tmp_path, "train")[0]).write_bytes(b"")
    with pytest.raises(DataError, match="expected 24 records of train, found 0"):
        list(split_batches(tmp_path, "train", 4, "reading"))


@settings(max_examples=10)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["train", "dev"])), min_size=1, max_size=9),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_class_records_give_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, drawn_classes: list[tuple[int, str]], shard_images: int, random: Random
) -> None:
    directory = tmp_path_factory.mktemp("classes")
    images = [
        LabelledImage(
            Path("digits.npy"), f"imáge/{index}", label, split,
            np.frombuffer(random.randbytes(12), np.uint8).reshape(3, 4),
        )
        for index, (label, split) in enumerate(drawn_classes)
    ]  # fmt: skip
    write_class_records(directory, images, CLASSES, shard_images=shard_images)
    for split in {image.split for image in images}:
        expected = [image for image in images if image.split == split]
        assert examples(directory, split) == [(image.name, image.read_bytes()) for image in expected]
        assert labels(directory, split) == [image.label for image in expected]
    assert read_record_classes(directory) == CLASSES


def test_class_records_skip_and_name_what_cannot_be_read(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG and nothing more")
    images = [LabelledImage(tmp_path / "bad.png", "bad.png", 0, "train"), *labelled(drawn)]
    shards = write_class_records(tmp_path / "records", images, CLASSES, shard_images=4)
    assert shards is not None
    assert [shard.records for shard in shards] == [3, 3]
    assert [line.split(":")[0] for shard in shards for line in shard.skipped] == [str(tmp_path / "bad.png")]


def test_records_say_what_they_hold(drawn: Path, tmp_path: Path) -> None:
    images = read_folder(drawn)
    write_records(tmp_path / "captions", images, Vocabulary.build(captions_of(images)))
    write_class_records(tmp_path / "classes", labelled(drawn), CLASSES)
    for kind in ("captions", "classes"):
        assert read_kind(tmp_path / kind) == kind
        check_kind(tmp_path / kind, kind)
    with pytest.raises(DataError, match=r"expected class records, found caption records; run .*prepare image-folder"):
        check_kind(tmp_path / "captions", "classes")
    with pytest.raises(DataError, match=r"expected caption records, found class records; run .*prepare folder"):
        check_kind(tmp_path / "classes", "captions")
    with pytest.raises(DataError, match="expected class records"):
        read_record_classes(tmp_path / "captions")


def test_an_index_from_before_there_were_classes_holds_captions(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"shards": []}')
    assert read_kind(tmp_path) == "captions"
    (tmp_path / "index.json").write_text('{"shards": [], "kind": "boxes"}')
    with pytest.raises(DataError, match="found 'boxes'"):
        read_kind(tmp_path)


def test_damaged_classes_are_named(drawn: Path, tmp_path: Path) -> None:
    write_class_records(tmp_path, labelled(drawn), CLASSES)
    (tmp_path / "classes.json").write_text("[1]")
    with pytest.raises(DataError, match=r"classes.json: .* prepare the records again"):
        read_record_classes(tmp_path)


def test_a_damaged_shard_is_told_and_written_again_as_it_was(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = labelled(drawn)
    first = write_class_records(tmp_path, images, CLASSES, shard_images=2)
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    shards = [Path(path) for path in shard_paths(tmp_path, "train")]
    untouched = shards[0].stat().st_mtime_ns
    shards[1].write_bytes(whole[shards[1].name][:-1])
    shards[2].unlink()
    capsys.readouterr()
    assert write_class_records(tmp_path, images, CLASSES, shard_images=2) == first
    assert f"{shards[1]}: expected SHA-256" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole
    assert shards[0].stat().st_mtime_ns == untouched


def test_no_index_stays_while_a_shard_is_replaced(drawn: Path, tmp_path: Path) -> None:
    folder = tmp_path / "source" / "one"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes((drawn / "photo-00.jpg").read_bytes())
    found = read_image_folder(folder.parent, dev_fraction=0.0)
    write_class_records(tmp_path / "records", found.images, found.classes)
    (folder / "a.jpg").unlink()
    Path(shard_paths(tmp_path / "records", "train")[0]).write_bytes(b"")
    with pytest.raises(DataError, match="check the path"):
        write_class_records(tmp_path / "records", found.images, found.classes)
    with pytest.raises(DataError, match="finished records"):
        read_index(tmp_path / "records")


def test_a_stop_that_was_asked_for_leaves_no_index_and_the_next_run_goes_on(drawn: Path, tmp_path: Path) -> None:
    class Stopping(LabelledImage):
        """Stands for a person who presses Ctrl-C while the images are read; each is read when that was seen."""

        def read_bytes(self) -> bytes:
            receive = signal.getsignal(signal.SIGINT)
            assert isinstance(receive, MethodType)
            stop = receive.__self__
            assert isinstance(stop, StopRequest)
            if pressed.acquire(blocking=False):
                os.kill(os.getpid(), signal.SIGINT)
            wait_until(lambda: stop.requested)
            return super().read_bytes()

    pressed = threading.Lock()
    images = [replace(image, name=f"{n}-{image.name}") for n in range(THREADS) for image in labelled(drawn)]
    stopping = [Stopping(image.path, image.name, image.label, image.split) for image in images]
    assert write_class_records(tmp_path, stopping, CLASSES, shard_images=1) is None
    with pytest.raises(DataError, match="finished records"):
        read_index(tmp_path)
    assert len(list(tmp_path.glob("*.tfrecord"))) <= THREADS
    write_class_records(tmp_path, images, CLASSES, shard_images=1)
    assert [name for name, _ in examples(tmp_path, "train")] == [image.name for image in images]
