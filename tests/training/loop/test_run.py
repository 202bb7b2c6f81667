"""The run loop on a task of one dense layer: what it keeps, when, and how it goes on."""

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.errors import DataError
from tests.training.loop.line import ADAM, STEPS, Line
from training.config import OptimizerConfig, RunConfig
from training.loop.checkpoint import BEST
from training.loop.directory import CHECKPOINTS, CURVES, METRICS, SUMMARIES, restart
from training.loop.run import Run

pytestmark = pytest.mark.slow

EVERY_STEP = RunConfig(summary_steps=1, histogram_steps=0, checkpoint_steps=100)


def stop_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def steps_kept(directory: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("step-")) for path in (directory / CHECKPOINTS).glob("step-*.safetensors"))


def lines(directory: Path, kind: str = "train") -> list[dict[str, Any]]:
    """Returns the lines of a kind without those figures that are times."""
    found = [json.loads(line) for line in (directory / METRICS).read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if "seconds" not in name} for line in found if line["kind"] == kind
    ]


def weights(task: Line) -> list[np.ndarray]:
    return [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in task.layer.variables]


def assert_equal_weights(one: Line, two: Line) -> None:
    for first, second in zip(weights(one), weights(two), strict=True):
        np.testing.assert_array_equal(first, second)


def flip_a_byte(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Line]:
    """Returns the directory and the task of a run from its beginning to its end."""
    directory = tmp_path_factory.mktemp("whole")
    task = Line()
    assert Run(directory, task, EVERY_STEP).train()
    return directory, task


def test_every_step_leaves_one_line_with_its_figures(whole: tuple[Path, Line]) -> None:
    directory, _ = whole
    train = lines(directory)
    dev = lines(directory, "dev")
    assert [line["step"] for line in train] == list(range(1, 13))
    assert all(line.keys() == {"step", "kind", "loss", "gradient_norm", "learning_rate"} for line in train)
    assert [(line["step"], line["epoch"]) for line in dev] == [(6, 1), (12, 2)]
    assert (directory / CURVES).read_text().lstrip().startswith("<?xml")


def test_a_line_holds_the_mean_since_the_line_before(whole: tuple[Path, Line], tmp_path: Path) -> None:
    Run(tmp_path, Line(), replace(EVERY_STEP, summary_steps=3)).train()
    single = [line["loss"] for line in lines(whole[0])]
    assert [line["step"] for line in lines(tmp_path)] == [3, 6, 9, 12]
    expected = np.mean(np.reshape(single, (4, 3)), axis=1)
    np.testing.assert_allclose([line["loss"] for line in lines(tmp_path)], expected, rtol=1e-4)


def test_a_checkpoint_is_written_every_so_many_steps_and_the_newest_are_kept(tmp_path: Path) -> None:
    Run(tmp_path, Line(), replace(EVERY_STEP, checkpoint_steps=2, keep=3)).train()
    assert steps_kept(tmp_path) == [8, 10, 12]
    assert (tmp_path / BEST).exists()


def test_a_checkpoint_is_written_at_every_epoch_whatever_the_steps(whole: tuple[Path, Line]) -> None:
    assert steps_kept(whole[0]) == [6, 12]


def test_a_checkpoint_is_written_after_so_many_minutes(tmp_path: Path) -> None:
    Run(tmp_path, Line(epochs=1), replace(EVERY_STEP, checkpoint_minutes=1e-9, keep=100)).train()
    assert steps_kept(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(whole: tuple[Path, Line], tmp_path: Path) -> None:
    directory, task = whole
    assert not Run(tmp_path, Line(at_step={8: stop_this_process}), EVERY_STEP).train()
    # The signal comes within step 8, counted from 0; the next one is told to be the last.
    assert steps_kept(tmp_path) == [6, 10]
    resumed = Line()
    run = Run(tmp_path, resumed, EVERY_STEP)
    assert run.step == 10
    assert run.train()
    assert_equal_weights(resumed, task)
    assert lines(tmp_path) == lines(directory)
    assert lines(tmp_path, "dev") == lines(directory, "dev")


@pytest.mark.parametrize(("epochs", "complete"), [(2, False), (1, True)])
def test_a_stop_in_the_last_step_of_an_epoch_still_scores_it(tmp_path: Path, epochs: int, complete: bool) -> None:
    task = Line(epochs=epochs, at_step={STEPS - 2: stop_this_process})
    assert Run(tmp_path, task, EVERY_STEP).train() is complete
    assert task.evaluations == 1
    assert [line["epoch"] for line in lines(tmp_path, "dev")] == [1]
    assert (tmp_path / BEST).exists()


def test_a_finished_run_does_nothing_when_called_again(whole: tuple[Path, Line]) -> None:
    directory, task = whole
    before = (directory / METRICS).read_bytes()
    again = Line()
    assert Run(directory, again, EVERY_STEP).train()
    assert again.evaluations == 0
    assert_equal_weights(again, task)
    assert (directory / METRICS).read_bytes() == before


def test_lines_after_the_last_checkpoint_are_not_doubled(whole: tuple[Path, Line], tmp_path: Path) -> None:
    """As after a kill: the newest checkpoint is older than the last lines, of which one is cut off."""
    Run(tmp_path, Line(), replace(EVERY_STEP, checkpoint_steps=2)).train()
    for path in list((tmp_path / CHECKPOINTS).iterdir()):
        if path.name > "step-000000008.safetensors":
            path.unlink()
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 13, "kind": "tr')
    Run(tmp_path, Line(), EVERY_STEP).train()
    assert lines(tmp_path) == lines(whole[0])


def test_restart_forgets_the_run_before(tmp_path: Path) -> None:
    Run(tmp_path, Line(), EVERY_STEP).train()
    (tmp_path / "notes.txt").write_text("mine")
    restart(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["notes.txt"]
    run = Run(tmp_path, Line(replace(ADAM, learning_rate=0.01)), EVERY_STEP)
    assert run.step == 0


def test_resuming_with_other_options_is_refused_and_names_them(whole: tuple[Path, Line]) -> None:
    other = Line(OptimizerConfig(name="sgd", learning_rate=0.05, schedule="constant"))
    with pytest.raises(DataError, match=r"differs in training\.optimizer\.name; give the same .* or --restart"):
        Run(whole[0], other, EVERY_STEP)


@pytest.mark.parametrize("place", [40, -3], ids=["header", "values"])
def test_one_flipped_byte_in_the_newest_checkpoint_costs_only_the_steps_since_the_one_before(
    whole: tuple[Path, Line], tmp_path: Path, capsys: pytest.CaptureFixture[str], place: int
) -> None:
    directory, task = whole
    Run(tmp_path, Line(), replace(EVERY_STEP, checkpoint_steps=2)).train()
    flip_a_byte(tmp_path / CHECKPOINTS / "step-000000012.safetensors", place)
    resumed = Line()
    run = Run(tmp_path, resumed, EVERY_STEP)
    told = capsys.readouterr().err
    assert f"WARNING: {tmp_path / CHECKPOINTS / 'step-000000012.safetensors'}: expected" in told
    assert f"WARNING: continuing from {tmp_path / CHECKPOINTS / 'step-000000010.safetensors'} instead" in told
    assert run.step == 10
    assert run.train()
    assert_equal_weights(resumed, task)
    assert lines(tmp_path) == lines(directory)


def test_a_run_of_which_every_checkpoint_is_damaged_is_refused(tmp_path: Path) -> None:
    Run(tmp_path, Line(), EVERY_STEP).train()
    for path in (tmp_path / CHECKPOINTS).iterdir():
        flip_a_byte(path, -3)
    with pytest.raises(DataError, match=r"step-000000006\.safetensors: expected the values that were saved"):
        Run(tmp_path, Line(), EVERY_STEP)


def test_a_run_that_diverges_says_so_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    """The rate rises until the loss does too; the checkpoint of the weights behind the last loss is not kept."""
    rising = OptimizerConfig(name="sgd", learning_rate=20, warmup=0.9, clip_norm=0, momentum=0)
    task = Line(rising, epochs=50)
    with pytest.raises(DataError, match="training has diverged") as caught:
        Run(tmp_path, task, replace(EVERY_STEP, checkpoint_steps=1, keep=1)).train()
    told = re.search(
        r"^step (\d+): .* a lower --learning-rate than 20 or a --clip-norm such as 5, with", str(caught.value)
    )
    assert told is not None, caught.value
    step = int(told[1])
    assert steps_kept(tmp_path) == [step - 1]
    assert f"step-{step - 1:09d}.safetensors: the same command goes on from there" in str(caught.value)
    assert lines(tmp_path)[-1]["loss"] <= 1000
    run = Run(tmp_path, Line(rising, epochs=50), EVERY_STEP)
    assert run.step == step - 1


def test_a_run_that_diverges_at_once_has_no_good_checkpoint(tmp_path: Path) -> None:
    task = Line(OptimizerConfig(name="sgd", learning_rate=1e30, schedule="constant", clip_norm=0))
    with pytest.raises(DataError, match="there is no good checkpoint: the same command begins anew"):
        Run(tmp_path, task, replace(EVERY_STEP, checkpoint_steps=1, histogram_steps=1)).train()
    assert steps_kept(tmp_path) == []


def test_data_that_end_early_are_an_error_that_says_where(tmp_path: Path) -> None:
    task = Line(epochs=1, steps_per_epoch=STEPS + 2)
    with pytest.raises(DataError, match="expected 8 batches an epoch, the data ended at step 6"):
        Run(tmp_path, task, EVERY_STEP).train()


def test_tensorboard_holds_scalars_histograms_and_the_graph(tmp_path: Path) -> None:
    Run(tmp_path, Line(), replace(EVERY_STEP, summary_steps=2, histogram_steps=3)).train()
    events = EventAccumulator(str(tmp_path / SUMMARIES), size_guidance={"tensors": 0})
    events.Reload()
    tags = events.Tags()["tensors"]
    for name in ("loss", "learning_rate", "step_seconds", "input_wait_seconds"):
        assert [event.step for event in events.Tensors(f"train/{name}")] == [2, 4, 6, 8, 10, 12]
    assert [event.step for event in events.Tensors("dev/closeness")] == [6, 12]
    variables = {tag.split("/", 1)[1] for tag in tags if tag.startswith("variables/")}
    gradients = {tag.split("/", 1)[1] for tag in tags if tag.startswith("gradients/")}
    assert variables == gradients == {"fit/line/kernel", "fit/line/bias"}
    assert [event.step for event in events.Tensors("gradients/fit/line/kernel")] == [1, 4, 7, 10]
    assert events.Tags()["graph"]


def test_the_average_of_the_weights_is_scored_and_kept_as_the_best_and_training_goes_on_from_the_weights(
    tmp_path: Path, whole: tuple[Path, Line]
) -> None:
    task = Line(replace(ADAM, average=0.9))
    assert Run(tmp_path, task, EVERY_STEP).train()
    assert_equal_weights(task, whole[1])  # the average changes nothing of the training
    plain, averaged = (load_file(directory / BEST) for directory in (whole[0], tmp_path))
    name = next(name for name in plain if name.endswith("line/kernel"))
    assert np.abs(averaged[name] - plain[name]).max() > 1e-4
    newest = load_file(max((tmp_path / CHECKPOINTS).glob("step-*.safetensors")))
    np.testing.assert_array_equal(newest[name], task.layer.trainable_variables[0].numpy())
    closeness = -float(np.abs(averaged[name][:, 0] - [1.0, -2.0, 0.5]).sum())
    assert max(line["closeness"] for line in lines(tmp_path, "dev")) == pytest.approx(
        closeness,
        rel=1e-5,  # figures have six digits
    )
