"""Caches directories that take minutes to make, until their inputs change."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from model.atomic import atomic_directory

CACHE = Path("build/bench")


def cached(name: str, made_from: Sequence[str | Path], make: Callable[[Path], None], folder: Path = CACHE) -> Path:
    """Returns a directory that `make` filled, now or earlier.

    Args:
        name: Name of the directory, without a dot.
        made_from: Texts and files. If a text or a file's content changes, the directory is made anew.
        make: Fills an empty directory.
        folder: Where the directories are.

    Returns:
        The directory. Those of the same name made from other inputs are removed.
    """
    digest = hashlib.sha256()
    for item in made_from:
        digest.update(item.read_bytes() if isinstance(item, Path) else item.encode())
        digest.update(b"\0")
    path = (folder / f"{name}.{digest.hexdigest()[:16]}").resolve()
    if not path.exists():
        for stale in folder.glob(f"{name}.*"):
            shutil.rmtree(stale)
        with atomic_directory(path) as temporary:
            make(temporary)
    return path
