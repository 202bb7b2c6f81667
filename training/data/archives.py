"""Unpacking of archives that may be hostile: entries appear whole or not at all."""

import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from lzma import LZMAError
from pathlib import Path, PurePosixPath

from model.errors import DataError
from training.progress import progress


def check_space(directory: Path, needed_bytes: int, what: str) -> None:
    """Checks that a disk has room before it is written to.

    Raises:
        DataError: It has less than `needed_bytes`; the message names `what`.
    """
    free = shutil.disk_usage(directory).free
    if needed_bytes > free:
        raise DataError(
            f"{what}: expected {needed_bytes} bytes free in {directory}, found {free}; free the disk or choose another "
            "directory, then call the command again"
        )


_BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, OSError,
    RuntimeError,  # a zip with a password or an unknown method
    ValueError, OverflowError,
)  # fmt: skip


def unpack(archive: Path, directory: Path, *, top: str = "") -> None:
    """Unpacks a zip or tar beside its target and moves what is whole into place, entry by entry.

    Entries that `directory` has already stay as they are, so that a repeated call completes it.

    Args:
        archive: A `.zip`, or a `.tar` as it is or compressed by gzip, bzip2 or xz; known by its content.
        directory: The target directory; made if missing.
        top: Folder inside the archive whose content is unpacked; empty for all.

    Raises:
        DataError: The archive is damaged, holds links or paths that lead out of it, lacks `top`, or the disk is full.
    """
    temporary = directory / f".{archive.name}.unpacking"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        _extract(archive, temporary)
        if not (temporary / top).is_dir():
            raise DataError(f"{archive}: expected the folder {top} inside, found none; unpack it by hand")
        os.sync()  # One call for 100 000 small files instead of one each.
        for entry in sorted((temporary / top).iterdir()):
            if entry.name != "__MACOSX" and not (directory / entry.name).exists():
                entry.rename(directory / entry.name)
    except _BROKEN as error:
        raise DataError(
            f"{archive}: expected a whole zip or tar and room to unpack it in {directory}, received: {error}; "
            "free the disk if it is full, else remove the archive, then call the command again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _extract(archive: Path, directory: Path) -> None:
    # Tar first: a tar whose last member is a zip is a valid zip too.
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            for member in members:
                _check_member(archive, member.name, plain=member.isreg() or member.isdir())
            check_space(directory, sum(member.size for member in members), str(archive))
            for member in progress(members, f"unpacking {archive.name}", unit="file"):
                tar.extract(member, directory, filter="data")
    else:
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                _check_member(archive, info.filename, plain=kind in (0, stat.S_IFREG, stat.S_IFDIR))
            check_space(directory, sum(info.file_size for info in packed.infolist()), str(archive))
            for info in progress(packed.infolist(), f"unpacking {archive.name}", unit="file"):
                packed.extract(info, directory)


def _check_member(archive: Path, name: str, *, plain: bool) -> None:
    path = PurePosixPath(name)
    if not plain or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise DataError(
            f"{archive}: expected plain files and folders that stay inside it, found {name!r}; "
            "nothing was unpacked: get the archive from another place"
        )
