"""TensorBoard's files of runs that were killed and gone on with."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.loop.line import Line
from training.config import RunConfig
from training.loop.directory import CHECKPOINTS, SUMMARIES
from training.loop.run import Run

pytestmark = pytest.mark.slow

CONFIG = RunConfig(summary_steps=1, histogram_steps=2, checkpoint_steps=2, keep=10)
TAGS = ("train/loss", "dev/closeness", "gradients/fit/line/kernel")


def forget_the_checkpoints_after(directory: Path, step: int) -> None:
    """Leaves what a kill leaves: figures of steps of which there is no checkpoint, and half an event."""
    for path in (directory / CHECKPOINTS).iterdir():
        if int(path.stem.removeprefix("step-")) > step:
            path.unlink()
    last = max((directory / SUMMARIES).glob("*.v2"), key=lambda path: path.stat().st_mtime)
    with last.open("ab") as file:
        file.write(b"\x18\x00\x00\x00\x00\x00\x00\x00half")


def steps(events: EventAccumulator) -> Iterator[list[int]]:
    """Yields the steps of each tag."""
    events.Reload()
    for tag in TAGS:
        yield [event.step for event in events.Tensors(tag)]


def test_a_run_that_is_gone_on_with_has_each_step_once(tmp_path: Path) -> None:
    Run(tmp_path / "whole", Line(), CONFIG).train()
    expected = list(steps(EventAccumulator(str(tmp_path / "whole" / SUMMARIES), size_guidance={"tensors": 0})))
    assert expected[0] == list(range(1, 13))
    directory = tmp_path / "killed"
    Run(directory, Line(), CONFIG).train()
    for step in (8, 4):
        forget_the_checkpoints_after(directory, step)
        Run(directory, Line(), replace(CONFIG, checkpoint_steps=4)).train()
        opened = EventAccumulator(str(directory / SUMMARIES), size_guidance={"tensors": 0})
        assert list(steps(opened)) == expected
        assert opened.Tags()["graph"]
