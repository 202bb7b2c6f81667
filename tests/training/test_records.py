import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from model.errors import DataError
from model.image import read_image
from model.vocabulary import Vocabulary
from training.datasets import CaptionedImage, read_folder
from training.evaluate import split_batches
from training.pipeline import ImageRecord, image_batches
from training.records import read_index, shard_paths, write_records


def captions_of(images: list[CaptionedImage]) -> list[str]:
    return [caption for image in images for caption in image.captions]


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


@pytest.mark.slow
def test_prepare_killed_at_any_moment_leaves_nothing_that_looks_whole_and_goes_on(drawn: Path, tmp_path: Path) -> None:
    out = tmp_path / "records"
    command = [sys.executable, "-m", "training.cli", "prepare", "folder", str(drawn), "--out", str(out)]
    command += ["--shard-images", "1", "--min-count", "1", "--dev-fraction", "0.3"]
    for wanted in (1, 7):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Killed while it writes: as soon as so many shards are there.
        while process.poll() is None and len(list(out.glob("*.tfrecord"))) < wanted:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if not (out / "index.json").exists():
            with pytest.raises(DataError, match="finished records"):
                read_index(out)
    subprocess.run(command, check=True, capture_output=True)
    assert sum(shard.records for shard in read_index(out)) == 24
    assert sum(len(batch[0]) for split in ("train", "dev") for batch in image_batches(out, split, 8)) == 24


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
