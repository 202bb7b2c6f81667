"""A table in a folder of Parquet files, which many machines write: what it was made with, its rows, its failures."""

import json
from collections.abc import Mapping
from typing import Any

from model.errors import LibraryError
from model.library.journal import told_changes
from model.library.stores import located
from model.library.tables import parquet_schema

SETTINGS = "_showtell.json"
"""Name of the file with the settings. Readers of such folders pass over names that begin so."""

_PENDING = ".pending.parquet"


class ParquetFolder:
    """A folder of Parquet files, with one beside it that says which rows are done.

    Args:
        place: Path or address of the folder.
        checkpoints: Path or address of the folder that says what is done.

    Raises:
        LibraryError: An address leads nowhere.
    """

    def __init__(self, place: str, checkpoints: str) -> None:
        self.place = place
        self.files, self.path = located(place)
        self.checkpoint_files, self.checkpoint_path = located(checkpoints)

    def check_settings(self, settings: Mapping[str, Any], *, overwrite: bool) -> None:
        """Makes sure that a run goes on with the settings that it began with.

        Args:
            settings: What must not change between two runs, in JSON's types.
            overwrite: Whether it is to begin anew.

        Raises:
            LibraryError: An earlier run had other settings, or the folder is someone else's.
        """
        before = self._settings()
        if before is None and (found := _parquet_files(self.files, self.path)):
            raise LibraryError(
                f"{self.place}: expected an empty folder, or the table of an earlier run, found {found[0]} and no "
                f"{SETTINGS}; name another folder"
            )
        if not overwrite and before is not None and (told := told_changes(before, settings)):
            raise LibraryError(
                f"{self.place}: an earlier run had other settings ({told}); give the same ones to go on, or "
                "--overwrite to begin anew"
            )

    def prepare(self, settings: Mapping[str, Any], *, overwrite: bool) -> None:
        """Makes the folders, empty if a run begins anew, and notes its settings.

        Raises:
            LibraryError: They cannot be written.
        """
        try:
            self.files.create_dir(self.path, recursive=True)
            self.checkpoint_files.create_dir(self.checkpoint_path, recursive=True)
            if overwrite:
                self._clear()
            self._write_settings(settings)
        except OSError as error:
            raise LibraryError(
                f"{self.place}: expected a folder that can be written to, received: {error}; name another one"
            ) from error

    def done(self, column: str) -> set[str]:
        """Takes away what a killed run left half written, and returns what is done.

        Ray's checkpoint of a file of the table has its name and `.pending` behind it until the file is written.

        Args:
            column: The one that the checkpoints hold.

        Raises:
            LibraryError: The checkpoints cannot be read, or what is half written cannot be taken away.
        """
        from pyarrow import parquet

        try:
            self._take_away_pending()
            found = _parquet_files(self.checkpoint_files, self.checkpoint_path)
            tables = [parquet.read_table(path, filesystem=self.checkpoint_files, columns=[column]) for path in found]
        except (OSError, ValueError) as error:
            raise LibraryError(
                f"{self.checkpoint_path}: expected checkpoints of an earlier run, received: {error}; --overwrite "
                "begins anew"
            ) from error
        return {name for table in tables for name in table[column].to_pylist()}

    def rows(self) -> int:
        """Returns how many rows there are.

        Raises:
            LibraryError: A file cannot be read.
        """
        return self._count()

    def check(self, expected: int) -> None:
        """Makes sure that there is one row for each photo that is done.

        Args:
            expected: How many are done.

        Raises:
            LibraryError: There are more or fewer.
        """
        found = self.rows()
        if found != expected:
            raise LibraryError(
                f"{self.place}: expected {expected:,} rows, one for each photo that is done, found {found:,}: files "
                "were added or taken away; --overwrite begins anew"
            )

    def failed(self) -> int:
        """Returns how many photos failed.

        Raises:
            LibraryError: As `rows`.
        """
        from pyarrow import dataset

        return self._count(filter=dataset.field("error").is_valid())

    def _count(self, **chosen: Any) -> int:
        from pyarrow import dataset

        try:
            found = _parquet_files(self.files, self.path)
            table = dataset.dataset(found, schema=parquet_schema(), format="parquet", filesystem=self.files)
            return int(table.count_rows(**chosen))
        except (OSError, ValueError) as error:
            raise LibraryError(
                f"{self.place}: expected Parquet files of this command, received: {error}; --overwrite begins anew"
            ) from error

    def _take_away_pending(self) -> None:
        checkpoints = _parquet_files(self.checkpoint_files, self.checkpoint_path)
        for pending in (path for path in checkpoints if path.endswith(_PENDING)):
            beginning = pending.removesuffix(_PENDING)
            # A store renames by a copy. If both are there, the file of the table is whole.
            if f"{beginning}.parquet" not in checkpoints:
                name = beginning.rpartition("/")[2]
                for path in _parquet_files(self.files, self.path):
                    if path.rpartition("/")[2].startswith(name):
                        self.files.delete_file(path)
            self.checkpoint_files.delete_file(pending)

    def _settings(self) -> Mapping[str, Any] | None:
        """Returns what the folder was made with; None if it was not made yet."""
        path = f"{self.path}/{SETTINGS}"
        if not self.files.get_file_info(path).is_file:
            return None
        try:
            with self.files.open_input_stream(path) as file:
                found: Mapping[str, Any] = dict(json.loads(file.read()))
        except (TypeError, ValueError) as error:
            raise LibraryError(
                f"{path}: expected the settings of an earlier run, found a damaged file; name another folder"
            ) from error
        return found

    def _write_settings(self, settings: Mapping[str, Any]) -> None:
        path = f"{self.path}/{SETTINGS}"
        with self.files.open_output_stream(f"{path}.partial") as file:
            file.write(json.dumps(settings).encode("ascii"))
        self.files.move(f"{path}.partial", path)

    def _clear(self) -> None:
        """Deletes the rows, and what says that they are done: that first, or a kill would leave photos out for good."""
        for files, path in ((self.checkpoint_files, self.checkpoint_path), (self.files, self.path)):
            for found in _parquet_files(files, path):
                files.delete_file(found)


def _parquet_files(files: Any, path: str) -> list[str]:
    """Returns the Parquet files in a folder; empty if it is not there."""
    from pyarrow.fs import FileSelector

    found = files.get_file_info(FileSelector(path, allow_not_found=True))
    return sorted(item.path for item in found if item.is_file and item.extension == "parquet")
