"""What the doctor finds out about a run by its note."""

from pathlib import Path

import keras
import pytest

from training.doctor.subject import open_subject
from training.loop.checkpoint import BEST, save_checkpoint
from training.provenance import recorded


@pytest.mark.parametrize(
    ("options", "devices"),
    [
        ((), ""),
        (("--preset", "original"), "cpu:4"),
        (("--preset=original", "--devices", "gpu"), "gpu"),
        (("--preset", "unknown"), ""),
    ],
)
def test_the_devices_of_a_run_are_those_that_it_was_given_or_its_presets(
    tmp_path: Path, options: tuple[str, ...], devices: str
) -> None:
    save_checkpoint(tmp_path / BEST, {"step": keras.Variable(0.0)}, {})
    with recorded(tmp_path, ["showtell-train", "captioner", *options]):
        pass
    assert open_subject(tmp_path).devices == devices
