"""Progress on standard error: images/s, time left and failures; messages go between its updates."""

import sys
from types import TracebackType
from typing import Self

from tqdm import tqdm

from model.library.names import printable

MANY = 4
"""From this many photos on, a progress bar is shown."""


class Progress:
    """A progress bar, where standard error is a terminal.

    Args:
        total: How many photos there are.
        done: How many of them were done before.
    """

    def __init__(self, total: int, done: int = 0) -> None:
        self._failed = 0
        hidden = total - done < MANY or not sys.stderr.isatty()
        self._bar = tqdm(total=total, initial=done, unit="image", disable=hidden, dynamic_ncols=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    def advance(self, photos: int) -> None:
        """Counts photos as done."""
        self._bar.update(photos)

    def fail(self, path: str, reason: str) -> None:
        """Tells of a photo that failed."""
        self._failed += 1
        self._bar.set_postfix(failed=self._failed, refresh=False)
        tell(f"{printable(path)}: {reason}")


def tell(message: str) -> None:
    """Writes a line to standard error, above a progress bar."""
    tqdm.write(message, file=sys.stderr)


def say(message: str) -> None:
    """Writes a line to standard output, above a progress bar."""
    tqdm.write(message, file=sys.stdout)
