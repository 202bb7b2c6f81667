"""Progress bars with an estimate of the time left, and stop requests that end a run between two steps."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Self, TypeVar

from tqdm import tqdm

T = TypeVar("T")
_STANDARD_ERROR = 2


def progress(
    items: Iterable[T], label: str, *, total: int | None = None, initial: int = 0, unit: str = "it"
) -> "tqdm[T]":
    """Wraps an iterable in a progress bar on standard error with rate and time left.

    Args:
        items: The items.
        label: Name of the work.
        total: Number of items, when `items` has no length.
        initial: Items already done by an earlier run.
        unit: Name of one item.

    Returns:
        The same items; `set_postfix` on it shows figures beside the bar. A log file gets a line every 30 s.
    """
    return tqdm(
        items, desc=label, total=total, initial=initial, unit=unit, dynamic_ncols=True,
        mininterval=0.2 if sys.stderr.isatty() else 30.0, maxinterval=30.0,
    )  # fmt: skip


def note(text: str) -> None:
    """Prints a line on standard error without breaking a progress bar."""
    tqdm.write(text, file=sys.stderr)


class StopRequest:
    """A request to stop after the current step, made by Ctrl-C or SIGTERM; a second one interrupts at once.

    Use as a context manager around a training loop and look at `requested` between steps.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # Not by `note`: the signal may have come in the middle of a line that the progress bar writes.
        with contextlib.suppress(OSError):
            os.write(_STANDARD_ERROR, b"\nstopping after this step; call the command again to continue from here\n")

    def until_requested(self, items: Iterable[T]) -> Iterator[T]:
        """Yields the items until a stop is requested."""
        for item in items:
            if self.requested:
                return
            yield item
