"""Photos in object stores, `s3://` and `gs://`: listed and read by pyarrow's file systems."""

import functools
import os
from typing import Any

from model.errors import LibraryError
from model.library.listing import Listing, left_out_by_name
from model.library.photos import Stamp, read_bounded, read_file

SCHEMES = ("s3", "gs")
"""Beginnings of the addresses that are read."""


def is_stored(path: str) -> bool:
    """Returns whether a path is the address of an object store."""
    scheme, mark, _ = path.partition("://")
    return bool(mark) and scheme in SCHEMES


def located(place: str) -> tuple[Any, str]:
    """Returns pyarrow's file system for a folder or an address, and the path in it.

    Raises:
        LibraryError: The address leads to no bucket, or its store cannot be reached.
    """
    scheme, mark, path = place.partition("://")
    try:
        if not mark:
            return _file_system(""), os.path.abspath(place)  # noqa: PTH100 - paths are text here
        return _file_system(f"{scheme}://{path.partition('/')[0]}/"), path.rstrip("/")
    except (OSError, ValueError) as error:
        raise LibraryError(
            f"{place}: expected the address of a bucket that can be reached, received: {error}; check its name and "
            "the credentials"
        ) from error


def list_stored(address: str) -> Listing:
    """Lists the photos below an address, by the same rules as those in folders.

    Raises:
        LibraryError: As `located`.
    """
    found = Listing()
    files, path = located(address)
    beginning = f"{address.partition('://')[0]}://"
    try:
        items = _items(files, path)
    except OSError as error:
        found.failures.append((address, error.strerror or str(error)))
        return found
    barred: dict[str, str] = {}
    for item in sorted(items, key=lambda item: str(item.path)):
        folder, reason = _barred(item.path.removeprefix(path).lstrip("/"))
        if folder:
            barred[folder] = reason
            continue
        named = item.path == path
        left_out = None if named else left_out_by_name(item.base_name, is_folder=False)
        if left_out is None:
            found.photos.append(f"{beginning}{item.path}")
        elif left_out:
            found.left_out[left_out] += 1
    for reason in filter(None, barred.values()):
        found.left_out[reason] += 1
    return found


def read_anywhere(path: str) -> tuple[bytes, Stamp | None]:
    """Returns the bytes of a photo in a folder or in a store, and its stamp if it is in a folder.

    Raises:
        ImageTooLargeError: It is too large, see `read_bounded`.
        OSError: It cannot be read.
    """
    if not is_stored(path):
        return read_file(path)
    files, inside = located(path)
    with files.open_input_stream(inside, compression=None) as file:
        return read_bounded(file), None


def _items(files: Any, path: str) -> list[Any]:
    """Returns the objects at or below a path."""
    from pyarrow.fs import FileSelector

    info = files.get_file_info(path)
    found = [info] if info.is_file else files.get_file_info(FileSelector(path, recursive=True))
    return [item for item in found if item.is_file]


def _barred(relative: str) -> tuple[str, str]:
    """Returns the outermost folder of a path that is left out for its name, and why; empty if there is none."""
    parts = relative.split("/")
    for depth, name in enumerate(parts[:-1], 1):
        reason = left_out_by_name(name, is_folder=True)
        if reason is not None:
            return "/".join(parts[:depth]), reason
    return "", ""


@functools.cache
def _file_system(root: str) -> Any:
    """Returns the file system of a bucket, or that of this machine; kept, because a store is asked for its region."""
    from pyarrow.fs import FileSystem, LocalFileSystem

    return FileSystem.from_uri(root)[0] if root else LocalFileSystem()
