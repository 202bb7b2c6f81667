"""The line on towers: as the points lie, whatever the number of towers."""

import re

import pytest
from click.testing import CliRunner

from tests.training.stages import replicas_of
from training.examples.line import OFFSET, SLOPE, fit
from training.examples.towers import main


@pytest.mark.parametrize("batch_size", [20, 3])
def test_four_towers_find_the_line_that_one_finds(batch_size: int) -> None:
    one, four = (
        fit(replicas_of(count), steps=40, batch_size=batch_size, learning_rate=0.2, seed=1) for count in (1, 4)
    )
    assert four == pytest.approx(one, rel=1e-4)
    assert four.last_loss < four.first_loss / 10
    assert (four.slope, four.offset) == pytest.approx((SLOPE, OFFSET), rel=0.2)


@pytest.mark.parametrize("learning_rate", ["5", "1e12", "1e30"])
def test_a_fit_that_diverges_ends_in_one_line(learning_rate: str) -> None:
    arguments = ["--devices", "cpu", "--steps", "100", "--learning-rate", learning_rate]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    line = (
        r"Error: step \d+: expected a finite loss of at most 1,000, received loss \S+, gradient_norm \S+: training has "
        rf"diverged\. Give a lower --learning-rate than {re.escape(f'{float(learning_rate):g}')}\n"
    )
    assert re.fullmatch(line, result.stderr)


def test_devices_that_are_none_are_one_clear_line() -> None:
    result = CliRunner().invoke(main, ["--devices", "towers"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: devices: expected auto, cpu, cpu:4, gpu or gpu:0,1")
