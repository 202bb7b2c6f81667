"""What is asked for on the command line, checked: which photos, what is written, and where."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import LibraryError
from model.library.listing import STANDARD_INPUT, is_url
from model.library.outputs import SIDECARS, Embedded, Folders, Output, Sidecar
from model.library.tables import TABLES, check_table

JOURNAL = ".showtell.journal"
"""Name of the journal in a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of the command.

    Attributes:
        photos: Files, folders and patterns.
        write: Kinds of sidecars, and at most one of tables.
        out: File of the table, or folder for sidecars and copies; None to write beside the photos.
        journal: File of the journal; None for the usual place.
        exif: Whether descriptions are written into photos.
        in_place: Whether into the photos themselves, not into copies.
        overwrite: Whether to begin anew, and to replace what others wrote.
        watch: Whether to go on with what appears.
        poll_seconds: Least time between two looks at the folders.
        threads: How many threads read and decode.
        max_pixels: Largest width times height of a photo.
        threshold: Least probability of a class that becomes a subject.
        explain: File of a page that explains one photo's captions; None for none.

    Raises:
        LibraryError: There is no such kind of file to write, or the options do not fit each other.
    """

    photos: tuple[str, ...]
    write: tuple[str, ...] = ()
    out: Path | None = None
    journal: Path | None = None
    exif: bool = False
    in_place: bool = False
    overwrite: bool = False
    watch: bool = False
    poll_seconds: float = 5.0
    threads: int = 2
    max_pixels: int
    threshold: float = 0.3
    explain: Path | None = None

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.write if kind not in (*SIDECARS, *TABLES)]
        if unknown:
            raise LibraryError(f"--write: expected some of {', '.join((*SIDECARS, *TABLES))}, received {unknown[0]!r}")
        if len(self._tables) > 1:
            raise LibraryError(f"--write: expected at most one of {', '.join(TABLES)}, received {len(self._tables)}")
        if self.in_place and not self.exif:
            raise LibraryError("--in-place: expected --exif with it; it says where descriptions are written")
        if self.is_writing and STANDARD_INPUT in self.photos:
            raise LibraryError("-: expected files where something is written, received standard input; give a file")
        if self.watch and STANDARD_INPUT in self.photos:
            raise LibraryError("--watch: expected folders, received standard input; give a folder")
        if self.explain is not None and (self.is_writing or self.watch):
            raise LibraryError(
                "--explain: expected no --write, --exif or --watch with it, which are for many photos; call it for one"
            )
        self._check_out()
        if self.table is not None:
            check_table(self.table)

    def _check_out(self) -> None:
        copies = self.exif and not self.in_place
        if self.table is not None and (copies or self.out is None):
            advice = "call the command twice, or add --in-place" if copies else "add it"
            raise LibraryError(f"--write {self.table}: expected --out with the file of the table alone; {advice}")
        if copies and self.out is None:
            raise LibraryError("--exif: expected --out with a folder for the copies, or --in-place; add one of them")
        if self.out is not None and not self.is_writing:
            raise LibraryError("--out: expected --write or --exif with it; say what is to be written")
        if self.out is not None and self.in_place and self.table is None:
            raise LibraryError("--in-place: expected no --out with it; take one of them away")
        if self.out is not None and self.table is not None and self.out.is_dir():
            raise LibraryError(f"--out: expected the file of a table, received a folder: {self.out}; add a name")

    @property
    def _tables(self) -> Sequence[str]:
        return sorted({kind for kind in self.write if kind in TABLES})

    @property
    def table(self) -> str | None:
        """Returns the kind of the table, if one is written."""
        return next(iter(self._tables), None)

    @property
    def is_writing(self) -> bool:
        """Returns whether something is written, not printed."""
        return bool(self.write) or self.exif

    @property
    def out_folder(self) -> str:
        """Returns the folder that sidecars and copies go to; empty if they go beside the photos."""
        return str(self.out) if self.out is not None and self.table is None else ""

    @property
    def journal_path(self) -> Path:
        """Returns where the journal is: beside the table, in the folder of the copies, or in that of all photos."""
        if self.journal is not None:
            return self.journal
        if self.table is not None and self.out is not None:
            return self.out.with_name(f"{self.out.name}.journal")
        return Path(self.out_folder or self.base) / JOURNAL

    @property
    def base(self) -> str:
        """Returns the deepest folder that all photos are in, absolute."""
        roots = [_root(argument) for argument in self.photos if not is_url(argument)]
        return os.path.commonpath(roots) if roots else os.getcwd()  # noqa: PTH109

    def outputs(self) -> list[Output]:
        """Returns what is written for each photo."""
        folders = Folders(self.base, os.path.abspath(self.out_folder) if self.out_folder else "")  # noqa: PTH100
        kinds = [kind for kind in SIDECARS if kind in self.write]
        found: list[Output] = [
            Sidecar(kind, folders, threshold=self.threshold, overwrite=self.overwrite) for kind in kinds
        ]
        if self.exif:
            found.append(Embedded(folders, threshold=self.threshold, overwrite=self.overwrite))
        return found


def _root(argument: str) -> str:
    """Returns the folder that the photos of an argument are in, whatever a pattern matches today."""
    path = os.path.abspath(argument)  # noqa: PTH100
    if os.path.isdir(path):  # noqa: PTH112
        return path
    path = os.path.dirname(path)  # noqa: PTH120
    while glob.has_magic(path) and not os.path.exists(path):  # noqa: PTH110
        path = os.path.dirname(path)  # noqa: PTH120
    return path
