"""Caches what takes minutes to make, until something that it was made from changes."""

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
        made_from: Texts, and files of which the content counts; another one of any makes the directory anew.
        make: Fills an empty directory.
        folder: Where the directories are.

    Returns:
        The directory; those of the same name that were made from something else are gone.
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
