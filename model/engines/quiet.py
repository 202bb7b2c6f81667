"""Keeps the engines' start-up notes off standard error."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

_LITE_NOTES = (b"INFO: Created TensorFlow Lite XNNPACK delegate", b"INFO: Initialized TensorFlow Lite runtime")
_TENSORFLOW_NOTES = (b"WARNING: All log messages before absl::InitializeLog() is called", b"I0000 ", b"W0000 ")
_STANDARD_ERROR = 2


def quiet_tensorflow() -> None:
    """Silences TensorFlow's own log; call before it is imported.

    A `TF_CPP_MIN_LOG_LEVEL` that the user has set stays as it is.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def quiet_lite() -> contextlib.AbstractContextManager[None]:
    """Leaves LiteRT's notes about itself out of what is written to standard error within the block."""
    return _left_out(_LITE_NOTES)


def quiet_import() -> contextlib.AbstractContextManager[None]:
    """Leaves TensorFlow's notes about itself, which no option stops, out while it is imported within the block."""
    return _left_out(_TENSORFLOW_NOTES)


@contextlib.contextmanager
def _left_out(starts: tuple[bytes, ...]) -> Iterator[None]:
    """Leaves lines that start so out of what is written to standard error within the block.

    Libraries write them to the descriptor. All else that the block writes appears when it ends. For a program of one
    thread.
    """
    with contextlib.ExitStack() as files:
        try:
            kept = files.enter_context(tempfile.TemporaryFile())
            original = os.dup(_STANDARD_ERROR)
        except OSError:  # there is no room for a file, or no standard error
            yield
            return
        os.dup2(kept.fileno(), _STANDARD_ERROR)
        try:
            yield
        finally:
            os.dup2(original, _STANDARD_ERROR)
            os.close(original)
            kept.seek(0)
            for line in kept:
                if not line.startswith(starts):
                    os.write(_STANDARD_ERROR, line)
