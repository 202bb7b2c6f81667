"""Files that are written beside their place, and put there when the journal knows of them."""

import contextlib
import errno
import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from model.library.journal import Written
from model.library.listing import OURS
from model.library.photos import Stamp, stamp_of

FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors that every other file would meet too."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A file that is written and not yet in its place.

    Attributes:
        place: Where it goes.
        before: Stamp of what is there now; None if nothing is.
        after: Stamp of the new file.
    """

    place: str
    before: Stamp | None
    after: Stamp

    @property
    def written(self) -> Written:
        """Returns what the journal keeps of it."""
        return Written(self.before, self.after)


def stage(place: str, content: bytes, before: Stamp | None, *, like: str | None = None) -> Staged:
    """Writes a file beside its place. What replaces another file is flushed to disk, and keeps permissions and owner.

    Args:
        place: Where it will go; its folder is made if missing.
        content: Its bytes.
        before: Stamp of what is there now, as it was read; None if nothing is.
        like: A file whose permissions it gets, if nothing is there.

    Raises:
        OSError: It cannot be written; nothing is left behind.
    """
    temporary = _temporary(place)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.lstat(place)  # its name may be too long, though that of the staged file is not
    try:
        with temporary.open("wb") as file:
            file.write(content)
            if before is not None:
                file.flush()
                os.fsync(file.fileno())
        if before is not None:
            _keep_owner(place, temporary)
        elif like is not None:
            shutil.copymode(like, temporary)
        after = stamp_of(str(temporary))
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if after is None:
        raise OSError(errno.ENOENT, "it vanished while it was written", place)
    return Staged(place, before, after)


def put(place: str, written: Written) -> bool:
    """Puts a staged file into its place, unless what is there has changed since.

    Returns:
        Whether it is there now. A staged file that is out of date is removed.

    Raises:
        OSError: It cannot be put there; it stays beside its place.
    """
    temporary = _temporary(place)
    if written.after is None or stamp_of(str(temporary)) != written.after:
        return False
    if stamp_of(place) != written.before:
        temporary.unlink(missing_ok=True)
        return False
    temporary.replace(place)
    return True


def discard(place: str) -> None:
    """Removes what was staged for a place."""
    with contextlib.suppress(OSError):
        _temporary(place).unlink(missing_ok=True)


def _keep_owner(place: str, temporary: Path) -> None:
    if sys.platform != "win32":
        status = os.stat(place)  # noqa: PTH116
        with contextlib.suppress(PermissionError):  # only root may give files away
            os.chown(temporary, status.st_uid, status.st_gid)
    # Second, because a change of the owner takes some permissions away.
    shutil.copymode(place, temporary)


def _temporary(place: str) -> Path:
    """Returns the name of the staged file: always the same, so that it is found again, and never too long."""
    path = Path(place)
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:20]
    return path.with_name(f"{OURS}-{digest}.partial")
