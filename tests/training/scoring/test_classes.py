"""Top-1 and top-5 accuracy of a bundle's classes on folders of photos."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from model.bundle import Bundle
from model.captioner import Captioner
from model.errors import DataError
from model.image import read_image
from training.commands.score import recognize as command
from training.scoring.classes import recognize


def test_ranks_are_counted_among_all_classes(toy: Bundle, drawn: Path, tmp_path: Path) -> None:
    captioner = Captioner.of(toy)
    photos = sorted(drawn.glob("*.jpg"))[:6]
    images = np.stack([read_image(photo.read_bytes()).pixels for photo in photos])
    ranked = [[found.id for found in p.classes] for p in captioner.predict(images, classes=len(toy.classes))]
    first = ranked[0][0]
    last = ranked[1][-1]
    for folder, photo in ((first, photos[0]), (last, photos[1])):
        (tmp_path / folder).mkdir(exist_ok=True)
        shutil.copy(photo, tmp_path / folder)
    found = recognize(captioner, tmp_path)
    assert found.photos == 2
    assert found.top_1 == 50.0
    assert found.top_5 == (50.0 if len(toy.classes) > 5 else 100.0)


def test_a_folder_that_is_no_class_is_named(toy_bundle: Path, drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "zebras").mkdir()
    shutil.copy(next(drawn.glob("*.jpg")), tmp_path / "zebras")
    result = CliRunner().invoke(command, [str(toy_bundle), str(tmp_path)])
    assert result.exit_code == 1
    assert "expected folders named by class ids such as" in result.output
    assert "found zebras" in result.output


def test_a_photo_that_cannot_be_read_is_told(toy: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / toy.classes[0].id
    folder.mkdir()
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match="one cannot be read"):
        recognize(Captioner.of(toy), tmp_path)
