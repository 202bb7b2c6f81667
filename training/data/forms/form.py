"""A form of captions on disk: how it is known, and how it is read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from model.errors import DataError
from training.data.captioned import Part
from training.data.forms.report import Report
from training.data.forms.text import parse, read_text


class Entry(NamedTuple):
    """A photo with captions, as it stands in a source; nothing of it is checked.

    Attributes:
        photo: Where the photo is, or its name within the file that holds it.
        captions: Captions in any shape; see `training.data.forms.sentences`.
        where: File and place of the entry.
        split: Name of its split; None where the source has none.
        folders: Folders in which the photo is looked for first.
        part: The photo's bytes where they lie within `folders[0]`, a larger file.
    """

    photo: object
    captions: object
    where: str
    split: object = None
    folders: tuple[Path, ...] = ()
    part: Part | None = None


@dataclass(slots=True)
class Reading:
    """What was asked for when a source is read, and what came of it.

    Attributes:
        photos: Folder of the photos, where the source names only files.
        encoding: Encoding of the texts; None for UTF-8, UTF-16 or UTF-32 by their bytes.
        year: Year of COCO, where there are several.
        report: What was left out.
    """

    photos: Path | None = None
    encoding: str | None = None
    year: int | None = None
    report: Report = field(default_factory=Report)
    _texts: dict[Path, str] = field(default_factory=dict)
    _documents: dict[Path, Any] = field(default_factory=dict)

    def text(self, path: Path) -> str:
        """Returns a file's text; that of the last file is kept.

        Raises:
            DataError: It cannot be read, or has another encoding.
        """
        if path not in self._texts:
            self._texts = {path: read_text(path, self.encoding)}
        return self._texts[path]

    def document(self, path: Path) -> Any:
        """Returns the JSON value that a file is; None where it is none. That of the last file is kept.

        Raises:
            DataError: It begins as JSON but is not whole.
        """
        if path not in self._documents:
            self._documents = {path: _document(path, self.text(path))}
        return self._documents[path]


def _document(path: Path, text: str) -> Any:
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return parse(text)
    except ValueError as error:
        first = next(line for line in text.split("\n") if line.strip())
        try:
            parse(first)
        except ValueError:
            raise DataError(
                f"{path}: expected whole JSON, or a JSON object a line, found neither ({error}); get the file again"
            ) from error
        return None  # an object a line


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form of captions on disk.

    Attributes:
        name: Its name on the command line.
        title: Its name in messages.
        expects: What makes it, in words.
        sign: Returns why a path has this form, in words; None where it has not.
        read: Yields what a path of this form holds.
    """

    name: str
    title: str
    expects: str
    sign: Callable[[Path, Reading], str | None]
    read: Callable[[Path, Reading], Iterator[Entry]]


def files_in(path: Path, *patterns: str) -> list[Path]:
    """Returns the path itself if it is a file, else the files below it that match, sorted, each once."""
    if path.is_file():
        return [path]
    found = {file for pattern in patterns for file in path.glob(pattern) if file.is_file()}
    return sorted(file for file in found if not file.name.startswith("."))


def one_of(path: Path, files: list[Path]) -> Path:
    """Returns the only file of several candidates.

    Raises:
        DataError: There are more; the message asks which.
    """
    if len(files) > 1:
        names = ", ".join(str(file.relative_to(path)) for file in files[:5])
        raise DataError(f"{path}: expected one file of captions, found {names}; give the path of the one that is meant")
    return files[0]
