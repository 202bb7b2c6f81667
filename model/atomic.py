"""Files and directories that appear whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success flushes it to disk and renames it into place.

    Args:
        path: The file to create or replace; its directory is made if missing.

    Yields:
        A path to write to. It is removed when the block raises, and `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yields an empty temporary directory beside `path`; on success flushes its files and swaps it into place.

    Args:
        path: The directory to create or replace; its parent is made if missing.

    Yields:
        A directory to fill. It is removed when the block raises, and `path` stays as it was. One process at a time.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Fixed names, so that the next call finds and repairs what a killed process left behind.
    temporary, old = (path.with_name(f".{path.name}.{suffix}") for suffix in ("partial", "old"))
    _put_back(path, old)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            flush(file)
        flush(temporary)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        flush(path.parent)
    finally:
        _put_back(path, old)
        shutil.rmtree(temporary, ignore_errors=True)


def _put_back(path: Path, old: Path) -> None:
    """Completes a swap: restores the old directory if the new one is missing, otherwise removes it."""
    if old.exists() and not path.exists():
        old.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def flush(path: Path) -> None:
    """Writes a file or directory to disk now (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
