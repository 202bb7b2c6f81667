"""Knows a photo again: by its file, however its path is written, and by its content."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from training.data.captioned import SPLITS, CaptionedImage

_ORDER = ("", *SPLITS)


def keep_apart(collections: Sequence[Sequence[CaptionedImage]]) -> tuple[list[list[CaptionedImage]], dict[str, int]]:
    """Makes one photo of those in a collection that are the same, and leaves none in two splits.

    Photos are the same if their files are, or their bytes. One that is in several splits, of whatever collections,
    stays in the one that is held out most: test before dev before train. What stands with it in another is left out.

    Args:
        collections: Photos of each source; a photo whose split is empty has that of those that are the same.

    Returns:
        The photos of each source, with the captions of all that were the same; and how often something was found, by a
        sentence about it.
    """
    identities = _identities({image.path: image for images in collections for image in images})
    split_of: dict[str, str] = {}
    moved: set[str] = set()
    for images in collections:
        for image in images:
            identity = identities[image.path]
            before = split_of.setdefault(identity, image.split)
            split_of[identity] = max(before, image.split, key=_ORDER.index)
            if before and image.split and before != image.split:
                moved.add(identity)
    found = []
    for images in collections:
        settled = [(image, split_of[identities[image.path]]) for image in images]
        kept = [replace(image, split=split) for image, split in settled if image.split in ("", split)]
        found.append(_merged(kept, identities))
    copies = sum(count for _, count in found)
    return [images for images, _ in found], {
        "photos whose content is that of another, taken as one": copies,
        "photos in several splits, kept in test or else dev alone": len(moved),
    }


def _merged(images: Sequence[CaptionedImage], identities: Mapping[Path, str]) -> tuple[list[CaptionedImage], int]:
    """Returns photos that are all different, and how many were not, those written twice not counted."""
    first: dict[str, CaptionedImage] = {}
    captions: dict[str, list[str]] = defaultdict(list)
    for image in images:
        identity = identities[image.path]
        first.setdefault(identity, image)
        captions[identity] += image.captions
    copies = len({image.path for image in images}) - len(first)
    return [replace(image, captions=tuple(captions[identity])) for identity, image in first.items()], copies


def _identities(by_path: Mapping[Path, CaptionedImage]) -> dict[Path, str]:
    """Returns what each photo is known by: its file, or the first file with the same content."""
    identities = {path: os.path.realpath(path) for path in by_path}
    by_size: dict[int, dict[str, CaptionedImage]] = defaultdict(dict)
    for path, image in by_path.items():
        by_size[_size_of(image)][identities[path]] = image
    same: dict[str, str] = {}
    for size, images in by_size.items():
        if size and len(images) > 1:
            same |= _of_same_content(images)
    return {path: same.get(file, file) for path, file in identities.items()}


def _of_same_content(images: Mapping[str, CaptionedImage]) -> dict[str, str]:
    """Returns the first file with the same content for each file."""
    seen: dict[bytes, str] = {}
    same = {}
    for file, image in images.items():
        try:
            digest = hashlib.sha256(image.read_bytes()).digest()
        except OSError:
            continue  # named when records are written
        same[file] = seen.setdefault(digest, file)
    return same


def _size_of(image: CaptionedImage) -> int:
    """Returns the bytes of a photo; 0 where it is not there."""
    if image.part is not None:
        return image.part.size
    try:
        return image.path.stat().st_size
    except (OSError, ValueError):
        return 0
