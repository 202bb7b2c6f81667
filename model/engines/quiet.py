"""Keeps the engines' start-up notes off standard error."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

_LITE_NOTES = (b"INFO: Created TensorFlow Lite XNNPACK delegate", b"INFO: Initialized TensorFlow Lite runtime")
_STANDARD_ERROR = 2


def quiet_tensorflow() -> None:
    """Silences TensorFlow's own log; call before it is imported.

    A `TF_CPP_MIN_LOG_LEVEL` that the user has set stays as it is.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def quiet_lite() -> Iterator[None]:
    """Leaves LiteRT's notes about itself out of what is written to standard error within the block.

    Its library writes them to the descriptor, and has no option that stops it. All else that the block writes appears
    when it ends. For a program of one thread.
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
                if not line.startswith(_LITE_NOTES):
                    os.write(_STANDARD_ERROR, line)
