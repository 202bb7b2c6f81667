"""What was left out of a source, and why: counted, and listed line by line."""

import reprlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from model.atomic import atomic_file

_SHOWN = reprlib.Repr()
_SHOWN.maxstring = 60
_SHOWN.maxother = 60


def shown(value: object) -> str:
    """Returns a value as short text on one line."""
    return _SHOWN.repr(value)


class Report:
    """The captions and records that were left out of a source, and photos that were there more than once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.notes: list[str] = []
        self._counts: dict[str, Counter[str]] = {"captions": Counter(), "records": Counter()}

    def leave_out_caption(self, where: str, why: str, value: object) -> None:
        """Notes a value that is no caption.

        Args:
            where: File and place of it.
            why: What it is instead, a few words that many share.
            value: The value.
        """
        self._counts["captions"][why] += 1
        self.lines.append(f"{where}: caption left out ({why}): {shown(value)}")

    def leave_out_record(self, where: str, why: str, value: object) -> None:
        """Notes a record that cannot be used.

        Args:
            where: File and place of it.
            why: What was expected, a few words that many share.
            value: What was there instead.
        """
        self._counts["records"][why] += 1
        self.lines.append(f"{where}: record left out ({why}): {shown(value)}")

    def note(self, counts: Mapping[str, int]) -> None:
        """Notes how often something held, by a sentence about it; what never held is not noted."""
        self.notes += [f"{text}: {count}" for text, count in counts.items() if count]

    def summary(self) -> list[str]:
        """Returns lines that say how many were left out for which reason, and the notes."""
        lines = []
        for what, counts in self._counts.items():
            if counts:
                reasons = ", ".join(f"{count} {why}" for why, count in counts.most_common())
                lines.append(f"left out: {counts.total()} {what} ({reasons})")
        return lines + self.notes

    def write(self, path: Path) -> None:
        """Writes a line for each value that was left out."""
        with atomic_file(path) as file:
            file.write_text("".join(f"{line}\n" for line in self.lines), encoding="utf-8", errors="backslashreplace")
