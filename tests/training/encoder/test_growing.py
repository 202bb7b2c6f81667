"""`showtell-train grow`, `maps` and `answers` on files in the public layouts."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.training.encoder.test_imagenet import VGG16, write
from training.cli import main
from training.data.photo_cache import PhotoCache
from training.encoder.folding import is_identity
from training.encoder.sources import load_encoder

pytestmark = pytest.mark.slow


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="showtell-train")


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("grown")
    weights = write(root / "vgg16.h5", layers=VGG16)
    result = run("grow", "--vgg16", weights, "--features", "average_fc2", "--out", root / "encoder")
    assert result.exit_code == 0, result.output
    return root / "encoder"


def test_grow_writes_an_encoder_that_later_stages_load(grown: Path) -> None:
    encoder, config, _ = load_encoder(grown)
    assert (config.features, config.feature_units, config.pooling, config.normalization) == (
        "average_fc2", 512 + 1280, "average", "caffe",
    )  # fmt: skip
    identities = [
        layer.name for layer in encoder.layers if "_conv" in layer.name and layer.weights and is_identity(layer)
    ]
    assert identities == ["block3_conv4", "block4_conv4", "block5_conv4"]
    assert not np.asarray(encoder.get_layer("block1_conv1").kernel).any()
    assert np.asarray(encoder.get_layer("fc1").kernel).any()


def test_maps_and_answers_are_computed_for_the_photos_that_are_listed(
    grown: Path, drawn: Path, lite2: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "listed.txt"
    listed.write_text("photo-03.jpg\nphoto-07.jpg\n")
    options = ("--photos", drawn, "--only", listed, "--view", "whole", "--out", tmp_path / "maps")
    result = run("maps", "--encoder", grown, *options)
    assert result.exit_code == 0, result.output
    cache = PhotoCache(tmp_path / "maps")
    assert (len(cache), cache.shapes) == (2, {"maps": (14, 14, 512)})
    result = run("answers", "--teacher", lite2, "--photos", drawn, "--out", tmp_path / "answers")
    assert result.exit_code == 0, result.output
    assert len(PhotoCache(tmp_path / "answers")) == 24


@pytest.mark.parametrize("command", ["grow", "maps", "answers", "distill-top"])
def test_the_help_of_every_stage_has_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"showtell-train {command} --" in result.output


def test_a_file_that_is_missing_is_one_line(tmp_path: Path) -> None:
    result = run("grow", "--vgg16", tmp_path / "none.h5", "--out", tmp_path / "encoder")
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "expected the HDF5 file of VGG-16 weights" in result.output
    assert not (tmp_path / "encoder").exists()
