"""TensorBoard's files of a run that is gone on with: what will be computed again is taken out of them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from model.atomic import atomic_file


def forget_after(directory: Path, step: int) -> None:
    """Drops the events of steps after the last checkpoint: a killed run took them, and they will be taken again.

    A TensorBoard that has read them shows them until it is started again: of what it calls tensors it forgets nothing.

    Args:
        directory: TensorBoard's files.
        step: Steps that the run has taken.
    """
    for path in sorted(directory.glob("events.*")):
        # Written anew even where nothing is dropped: it may end in half an event.
        with atomic_file(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
            for event in _events(path):
                if event.step <= step:
                    writer.write(event.SerializeToString())


def _events(path: Path) -> Iterator[Any]:
    """Yields the events of a file up to its end, or to where a kill has cut it off."""
    with contextlib.suppress(tf.errors.DataLossError):
        for record in tf.data.TFRecordDataset(str(path)):
            yield tf.compat.v1.Event.FromString(record.numpy())
