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
