"""The manifest of a bundle: size and SHA-256 of every other file, written last."""

import hashlib
import json
from pathlib import Path

from model.errors import BundleError
from model.versions import FORMAT_VERSION, READABLE_IN_WORDS, READABLE_VERSIONS

MANIFEST = "manifest.json"


def write_manifest(directory: Path) -> None:
    """Writes the manifest of all files in a directory."""
    files = {f.name: {"sha256": _sha256(f), "bytes": f.stat().st_size} for f in sorted(directory.iterdir())}
    manifest = {"format_version": FORMAT_VERSION, "files": files}
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def verify_manifest(path: Path, required: frozenset[str]) -> frozenset[str]:
    """Checks that every file in the manifest exists with the recorded size and hash.

    Args:
        path: The bundle's directory.
        required: Names that the manifest must have.

    Returns:
        All file names in it; other files in the directory do not belong to the bundle.

    Raises:
        BundleError: The manifest is missing or malformed, has another format version, or a file does not match it.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        version = manifest["format_version"]
        files = manifest["files"]
        entries = {str(name): (entry["sha256"], entry["bytes"]) for name, entry in files.items()}
    except FileNotFoundError as error:
        raise BundleError(f"{path}: expected a bundle directory with {MANIFEST}, found none; check the path") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(
            f"{path / MANIFEST}: expected a bundle's manifest, received something else; export it again"
        ) from error
    if type(version) is not int or version not in READABLE_VERSIONS:
        raise BundleError(
            f"{path}: expected bundle format {READABLE_IN_WORDS}, received {version!r}; "
            "export it again with this version"
        )
    for name in sorted(required - entries.keys()):
        raise BundleError(f"{path / MANIFEST}: expected an entry for {name}, found none; export the bundle again")
    for name, (sha256, size) in entries.items():
        if (path / name).parent != path or not (path / name).is_file():
            raise BundleError(f"{path}: expected the file {name} of the manifest, found none; copy the bundle again")
        _verify_file(path / name, sha256, size)
    return frozenset(entries)


def _verify_file(file: Path, sha256: str, size: int) -> None:
    found_size = file.stat().st_size
    if found_size != size:
        raise BundleError(f"{file}: expected {size} bytes, found {found_size} bytes; copy the bundle again")
    found = _sha256(file)
    if found != sha256:
        raise BundleError(f"{file}: expected SHA-256 {sha256}, found {found}; it is damaged or edited, copy it again")


def sha256_of(file: Path) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _sha256(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError as error:
        raise BundleError(
            f"{file}: expected a file that can be read: {error.strerror}; check its permissions"
        ) from error
