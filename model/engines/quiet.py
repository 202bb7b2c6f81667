"""Keeps TensorFlow's start-up notes off standard error."""

import os


def quiet_tensorflow() -> None:
    """Silences TensorFlow's own log; call before it is imported.

    A `TF_CPP_MIN_LOG_LEVEL` that the user has set stays as it is.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
