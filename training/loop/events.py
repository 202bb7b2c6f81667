"""TensorBoard's files of a run that is gone on with: what will be computed again is taken out of them."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from model.atomic import atomic_file

_VERSION = "brain.Event:2"


def forget_after(directory: Path, step: int) -> None:
    """Drops the events of steps after the last checkpoint: a killed run took them, and they will be taken again.

    A TensorBoard that is open, and has read them, is told to drop them too.

    Args:
        directory: TensorBoard's files.
        step: Steps that the run has taken.
    """
    paths = sorted(directory.glob("events.*"))
    for path in paths:
        # Written anew even where nothing is dropped: it may end in half an event.
        _write(path, (event for event in _events(path) if event.step <= step))
    if paths:
        start = tf.compat.v1.Event(
            step=step + 1, session_log=tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
        )
        now = time.time()
        start.wall_time = now
        # By its name it comes after the earlier files and before the next one, also of the same second.
        head = tf.compat.v1.Event(wall_time=now, file_version=_VERSION)
        _write(directory / f"events.out.tfevents.{int(now):010d}-start", iter([head, start]))


def _write(path: Path, events: Iterator[Any]) -> None:
    with atomic_file(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
        for event in events:
            writer.write(event.SerializeToString())


def _events(path: Path) -> Iterator[Any]:
    """Yields the events of a file up to its end, or to where a kill has cut it off."""
    with contextlib.suppress(tf.errors.DataLossError):
        for record in tf.data.TFRecordDataset(str(path)):
            yield tf.compat.v1.Event.FromString(record.numpy())
