from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from training.commands.prepare import prepare
from training.data.records import read_index, read_kind, read_record_classes, shard_paths


def run(*words: object) -> Result:
    return CliRunner().invoke(prepare, [str(word) for word in words], prog_name="prepare")


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Returns a directory with MNIST's four arrays, ten random digits in each split."""
    random = np.random.default_rng(1)
    folder = tmp_path / "digits"
    folder.mkdir()
    for split in ("train", "test"):
        np.save(folder / f"x_{split}.npy", random.integers(0, 256, (10, 28, 28), np.uint8))
        np.save(folder / f"y_{split}.npy", np.arange(10))
    return folder


@pytest.mark.parametrize("name", sorted(prepare.commands))
def test_the_help_of_every_source_has_an_example(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"Example:\n    showtell-train prepare {name} " in result.stdout


def test_class_records_are_counted_and_say_what_they_are(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "records"
    result = run("mnist", digits, "--out", out, "--shard-images", 4)
    assert (result.exit_code, result.stdout.splitlines()) == (
        0, ["train: 10 photos", "dev: 10 photos", f"classes: 10; skipped: 0 photos; written to {out}"],
    )  # fmt: skip
    assert read_kind(out) == "classes"
    assert [name.id for name in read_record_classes(out)] == list("0123456789")
    assert not (out / "vocabulary.txt").exists()


def test_photos_that_cannot_be_read_are_named_and_make_the_exit_status_1(drawn: Path, tmp_path: Path) -> None:
    folder = tmp_path / "source" / "square"
    folder.mkdir(parents=True)
    (folder / "good.jpg").write_bytes((drawn / "photo-00.jpg").read_bytes())
    (folder / "bad.jpg").write_bytes(b"not a photo")
    result = run("image-folder", folder.parent, "--out", tmp_path / "records", "--dev-fraction", 0)
    assert result.exit_code == 1
    assert f"skipped {folder / 'bad.jpg'}: expected a JPEG" in result.stderr
    assert "skipped: 1 photos" in result.stdout
    assert [shard.records for shard in read_index(tmp_path / "records")] == [1]


def test_calling_prepare_again_mends_a_damaged_shard(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "records"
    run("mnist", digits, "--out", out)
    shard = Path(shard_paths(out, "train")[0])
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-3])
    result = run("mnist", digits, "--out", out)
    assert result.exit_code == 0
    assert f"{shard}: expected SHA-256" in result.stderr
    assert shard.read_bytes() == whole


def test_a_source_that_is_not_there_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    result = run("mnist", tmp_path / "nowhere", "--out", tmp_path / "records")
    assert result.exit_code == 2
    assert "expected a file or directory, found none at" in result.stderr
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize("name", ["tiny-imagenet", "mnist", "flickr8k", "coco"])
def test_public_archives_can_be_downloaded_first(name: str) -> None:
    assert "--download" in run(name, "--help").stdout


def test_a_download_of_what_is_there_goes_straight_on_to_the_records(drawn: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for photo in ("train/n01/images/a.jpg", "val/images/b.jpg"):
        (source / photo).parent.mkdir(parents=True)
        (source / photo).write_bytes((drawn / "photo-00.jpg").read_bytes())
    (source / "wnids.txt").write_text("n01\n")
    (source / "words.txt").write_text("n01\tsquare, box\n")
    (source / "val" / "val_annotations.txt").write_text("b.jpg\tn01\t0\t0\t9\t9\n")
    result = run("tiny-imagenet", source, "--download", "--out", tmp_path / "records")
    assert (result.exit_code, result.stdout.splitlines()[:2]) == (0, ["train: 1 photos", "dev: 1 photos"])
    assert "already there" in result.stderr
