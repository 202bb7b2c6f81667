"""A bundle that differs from another one in its configuration, or in a small file, alone."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from model.atomic import atomic_directory
from model.bundle import CONFIG, REQUIRED
from model.config import CaptionerConfig
from model.manifest import MANIFEST, verify_manifest, write_manifest


def save_with_config(
    path: Path, bundle: Path, config: CaptionerConfig, files: Mapping[str, bytes] = MappingProxyType({})
) -> None:
    """Writes a bundle with another configuration; its tensors and files stay as they are.

    Args:
        path: Directory to create, or bundle to replace; the other bundle itself too.
        bundle: The other bundle.
        config: Of the same architecture.
        files: Contents of files by name, which are added or replace those of the other bundle.

    Raises:
        BundleError: The other bundle is missing or damaged, or `path` holds something that is not a bundle.
    """
    verify_manifest(bundle, REQUIRED)
    if path.exists():
        verify_manifest(path, REQUIRED)
    with atomic_directory(path) as directory:
        for file in bundle.iterdir():
            if file.name not in (CONFIG, MANIFEST):
                shutil.copyfile(file, directory / file.name)
        for name, content in files.items():
            (directory / name).write_bytes(content)
        (directory / CONFIG).write_text(config.to_json())
        for file in directory.iterdir():
            file.chmod(0o644)
        write_manifest(directory)
