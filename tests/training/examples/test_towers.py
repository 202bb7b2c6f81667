"""The line on towers: as the points lie, whatever the number of towers."""

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


def test_devices_that_are_none_are_one_clear_line() -> None:
    result = CliRunner().invoke(main, ["--devices", "towers"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: devices: expected auto, cpu, cpu:4, gpu or gpu:0,1")
