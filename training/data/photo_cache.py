"""A cache of a network's answers to photos, on disk, under a hash of each photo's bytes."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from model.atomic import atomic_file
from model.errors import DataError, ImageError
from model.image import read_image
from model.ranges import check_choice
from training.data.ahead import ahead
from training.progress import StopRequest, note, progress

View = Literal["whole", "mirrored"]
VIEWS: tuple[View, ...] = get_args(View)
"""Views of a photo: as it is, and its mirror image."""

STAMP = "cache.json"
SHARD_PHOTOS = 256
"""Photos in a file; a kill loses at most one file."""

Pixels = npt.NDArray[np.uint8]
Halves = npt.NDArray[np.float16]
Answer = Callable[[Pixels], Mapping[str, npt.NDArray[Any]]]
"""A network: from images (B, 224, 224, 3) to arrays (B, …) by name."""


def photo_key(data: bytes) -> str:
    """Returns the key of a photo: a hash of its file's bytes. Its folder and name do not matter."""
    return hashlib.sha256(data).hexdigest()


class PhotoCache:
    """A cache that `fill` has written.

    Args:
        directory: The cache's directory.
        source: The network that must have made it; None for any.

    Attributes:
        shapes: Shape of one photo's arrays by name.

    Raises:
        DataError: There is no cache, or it comes from another network.
    """

    def __init__(self, directory: Path, source: str | None = None) -> None:
        self._directory = directory
        stamp = _read_stamp(directory)
        if stamp is None:
            raise DataError(f"{directory}: expected cached answers of a network, found none; compute them first")
        if source is not None and stamp["source"] != source:
            raise DataError(
                f"{directory}: expected cached answers of this network, found another's; choose another directory"
            )
        self.shapes = {name: tuple(shape) for name, shape in stamp["shapes"].items()}
        self._files: list[dict[str, Any]] = []
        self._places: dict[tuple[str, str], tuple[int, int]] = {}
        for content in sorted(directory.glob("shard-*.json")):
            entry = json.loads(content.read_text())
            places = ((photo, entry["view"]) for photo in entry["photos"])
            self._places |= {place: (len(self._files), row) for row, place in enumerate(places)}
            number = content.stem.removeprefix("shard-")
            files = {name: directory / f"{name}-{number}.npy" for name in self.shapes}
            self._files.append({name: np.load(file, mmap_mode="r") for name, file in files.items()})

    def __contains__(self, place: tuple[str, str]) -> bool:
        return place in self._places

    def __len__(self) -> int:
        return len(self._places)

    def read(self, name: str, photo: str, view: View = "whole") -> Halves:
        """Returns one array of a photo, float16.

        Args:
            name: Which array.
            photo: From `photo_key`.
            view: Which view.

        Raises:
            DataError: It is not there.
        """
        if (photo, view) not in self._places:
            raise DataError(
                f"{self._directory}: expected {name} of every photo ({view}), found none of one; run the command that "
                "made this directory on all folders"
            )
        file, row = self._places[photo, view]
        values: Halves = self._files[file][name][row]
        return values


def fill(
    directory: Path, source: str, shapes: Mapping[str, tuple[int, ...]], answer: Answer, paths: Sequence[Path],
    views: Sequence[View] = VIEWS, *, batch_size: int = 8, shard_photos: int = SHARD_PHOTOS,
) -> bool:  # fmt: skip
    """Computes a network's answers to photos where they are missing, one view of all photos after the other.

    Args:
        directory: Where the answers go. Files of an earlier call are kept.
        source: Identifies the network.
        shapes: Shape of one photo's arrays by name.
        answer: The network; its arrays are kept as float16.
        paths: Photos. Files of equal content count once.
        views: Which views, in this order.
        batch_size: Images at once.
        shard_photos: Photos in a file.

    Returns:
        Whether the cache is complete; False after a requested stop.

    Raises:
        ConfigError: There is no such view.
        DataError: A photo cannot be read, or the directory holds the answers of another network.
    """
    for view in views:
        check_choice("view", view, VIEWS)
    directory.mkdir(parents=True, exist_ok=True)
    if _read_stamp(directory) is None:
        with atomic_file(directory / STAMP) as file:
            file.write_text(json.dumps({"source": source, "shapes": shapes}))
    cache = PhotoCache(directory, source)
    photos = {photo_key(path.read_bytes()): path for path in progress(paths, "reading photos", unit="photo")}
    missing = {view: [photo for photo in photos if (photo, view) not in cache] for view in views}
    total = sum(map(len, missing.values()))
    note(f"computing {total} views of {len(photos)} photos, {len(cache)} are there")
    bar: Any = progress([], "computing", total=total, unit="view")
    with StopRequest() as stop, bar:
        for view, chunk in _chunks(missing, shard_photos):
            batches = [chunk[start : start + batch_size] for start in range(0, len(chunk), batch_size)]
            images = ahead(_Reader(photos, view), batches)
            found: dict[str, list[Halves]] = {name: [] for name in shapes}
            for batch in images:
                if stop.requested:
                    return False
                for name, values in answer(batch).items():
                    found[name].append(_halves(values))
                bar.update(len(batch))
            _write(directory, view, chunk, {name: np.concatenate(parts) for name, parts in found.items()})
    return True


class _Reader:
    """A function that reads one view of photos, by their keys."""

    def __init__(self, photos: Mapping[str, Path], view: View) -> None:
        self._photos = photos
        self._view = view

    def __call__(self, keys: Sequence[str]) -> Pixels:
        return np.stack([self._pixels(self._photos[key]) for key in keys])

    def _pixels(self, path: Path) -> Pixels:
        try:
            pixels = read_image(path.read_bytes()).pixels
        except (OSError, ImageError) as error:
            raise DataError(f"{path}: expected a photo that can be read: {error}; remove it") from error
        return pixels if self._view == "whole" else pixels[:, ::-1]


def _halves(values: npt.NDArray[Any]) -> Halves:
    """Returns float16 values; those beyond its range become its largest."""
    most = np.finfo(np.float16).max
    halves: Halves = np.clip(values, -most, most).astype(np.float16)
    return halves


def _chunks(missing: Mapping[View, Sequence[str]], size: int) -> Iterator[tuple[View, Sequence[str]]]:
    """Cuts the photos of each view into pieces."""
    for view, photos in missing.items():
        for start in range(0, len(photos), size):
            yield view, photos[start : start + size]


def _write(directory: Path, view: View, photos: Sequence[str], arrays: Mapping[str, Halves]) -> None:
    """Writes files of arrays, then the list of their photos: files without a list are ignored."""
    number = next(number for number in count() if not (directory / f"shard-{number:05d}.json").exists())
    for name, values in arrays.items():
        with atomic_file(directory / f"{name}-{number:05d}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, values)
    with atomic_file(directory / f"shard-{number:05d}.json") as temporary:
        temporary.write_text(json.dumps({"view": view, "photos": list(photos)}))


def _read_stamp(directory: Path) -> dict[str, Any] | None:
    path = directory / STAMP
    return dict(json.loads(path.read_text())) if path.exists() else None
