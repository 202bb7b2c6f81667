"""Several collections of captioned photos as one, with a weight for each source."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from model.errors import DataError
from training.data.captioned import CaptionedImage
from training.data.identity import keep_apart

SEPARATOR = ":"
"""Separator between a source and the name of a photo in it."""


@dataclass(frozen=True, slots=True)
class Source:
    """A collection of captioned photos.

    Attributes:
        name: Its name in scores and weights.
        images: Its photos.
        weight: How much each of its captions counts in training; at least 0.
    """

    name: str
    images: Sequence[CaptionedImage]
    weight: float = 1.0


def mix(sources: Sequence[Source]) -> tuple[list[CaptionedImage], dict[str, int]]:
    """Joins collections; photos are called `source:name`, and none is in two splits.

    Args:
        sources: At least one; names without a colon, each once.

    Returns:
        The photos of all, source after source; and how often something was found, by a sentence about it. See
        `training.data.identity.keep_apart`.

    Raises:
        DataError: Two sources have one name, a name has a colon, or a weight is negative.
    """
    names = [source.name for source in sources]
    for source in sources:
        if names.count(source.name) > 1 or SEPARATOR in source.name or not source.name:
            raise DataError(
                f"expected names of sources without a colon, each once, received {source.name!r}; name it by NAME=PATH"
            )
        if not source.weight >= 0:
            raise DataError(f"{source.name}: expected a weight of at least 0, received {source.weight}")
    found, counts = keep_apart([source.images for source in sources])
    images = [
        replace(image, name=f"{source.name}{SEPARATOR}{image.name}")
        for source, kept in zip(sources, found, strict=True) for image in kept
    ]  # fmt: skip
    return images, counts


def source_of(name: str) -> str:
    """Returns the source of a photo's name; empty where there is only one."""
    source, separator, _ = name.partition(SEPARATOR)
    return source if separator else ""


def by_source(names: Iterable[str]) -> dict[str, list[str]]:
    """Groups photo names by their source, in the order of their first appearance."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(source_of(name), []).append(name)
    return groups


def check_weights(weights: Mapping[str, float], known: Iterable[str]) -> None:
    """Checks that every weight is for a known source.

    Raises:
        DataError: One is not.
    """
    known = list(known)
    for name in weights:
        if name not in known:
            raise DataError(f"weight of {name}: expected one of the sources {', '.join(known) or '(only one)'}")
