"""The frozen part's last maps of photos, computed once and kept on disk: what fine-tuning and features start from."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.atomic import atomic_file
from model.errors import DataError, ImageError
from model.image import read_image
from model.pretrained import identity_kernel
from training.progress import StopRequest, note, progress
from training.targets import ahead
from training.winograd import TILE, winograd_convolution

FROZEN = "block4_pool"
"""Last layer of the frozen part; its output is what is kept."""

View = Literal["whole", "mirrored"]
VIEWS: tuple[View, ...] = ("whole", "mirrored")
"""Views of a photo that are kept."""

STAMP = "maps.json"
SHARD_PHOTOS = 256
"""Photos in a file: what a kill loses at most."""

_BATCH = 8
_WINOGRAD_CHANNELS = 128
"""Input channels from which Winograd's convolution is faster than the direct one."""

Maps = npt.NDArray[np.float16]


def photo_key(data: bytes) -> str:
    """Returns what a photo is known by: a hash of its file's bytes, wherever it lies and whatever it is called."""
    return hashlib.sha256(data).hexdigest()


def frozen_key(encoder: keras.Model) -> str:
    """Returns a hash of the weights in front of `FROZEN`: maps of equal ones are equal."""
    digest = hashlib.sha256()
    for layer in _frozen_layers(encoder):
        for value in layer.weights:
            digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(value), np.float32).data)
    return digest.hexdigest()


class MapCache:
    """Reads the maps that `cache_maps` has written.

    Args:
        directory: Where they lie.
        key: `frozen_key` of the encoder that they must come from; None for any.

    Attributes:
        shape: Shape (H, W, C) of one map.

    Raises:
        DataError: There is no cache, or it is of another encoder.
    """

    def __init__(self, directory: Path, key: str | None = None) -> None:
        self._directory = directory
        stamp = _read_stamp(directory)
        if stamp is None:
            raise DataError(f"{directory}: expected maps of photos, found none; run `showtell-train maps` first")
        if key is not None and stamp["encoder"] != key:
            raise DataError(
                f"{directory}: expected maps of this encoder's first four blocks, found another's; make them in a new "
                "directory"
            )
        self.shape: tuple[int, int, int] = tuple(stamp["shape"])
        self._files: list[Any] = []
        self._places: dict[tuple[str, str], tuple[int, int]] = {}
        for note_file in sorted(directory.glob("maps-*.json")):
            entry = json.loads(note_file.read_text())
            for row, photo in enumerate(entry["photos"]):
                self._places[photo, entry["view"]] = (len(self._files), row)
            self._files.append(np.load(note_file.with_suffix(".npy"), mmap_mode="r"))

    def __contains__(self, place: tuple[str, str]) -> bool:
        return place in self._places

    def __len__(self) -> int:
        return len(self._places)

    def read(self, photo: str, view: View) -> Maps:
        """Returns one map, shape (H, W, C).

        Args:
            photo: From `photo_key`.
            view: Which view.

        Raises:
            DataError: It is not there.
        """
        if (photo, view) not in self._places:
            raise DataError(
                f"{self._directory}: expected the map of every photo ({view}), found none of one; run "
                "`showtell-train maps` on all folders first"
            )
        file, row = self._places[photo, view]
        maps: Maps = self._files[file][row]
        return maps


def cache_maps(directory: Path, encoder: keras.Model, paths: Sequence[Path], views: Sequence[View] = VIEWS) -> bool:
    """Computes the maps of photos that are not there yet, one view of all photos after the other.

    Args:
        directory: Where they go, `SHARD_PHOTOS` in a file; what an earlier call has finished is not computed again.
        encoder: An encoder of full size; only the layers up to `FROZEN` run.
        paths: Photos. Files of equal content count once.
        views: Which views, in this order.

    Returns:
        Whether all are there; False after a requested stop.

    Raises:
        DataError: A photo cannot be read, or the directory holds the maps of another encoder.
    """
    directory.mkdir(parents=True, exist_ok=True)
    shape = encoder.get_layer(FROZEN).output.shape[1:]
    key = frozen_key(encoder)
    if _read_stamp(directory) is None:
        with atomic_file(directory / STAMP) as file:
            file.write_text(json.dumps({"encoder": key, "shape": list(shape)}))
    cache = MapCache(directory, key)
    photos = {photo_key(path.read_bytes()): path for path in progress(paths, "looking at photos", unit="photo")}
    missing = [(photo, view) for view in views for photo in photos if (photo, view) not in cache]
    note(f"computing {len(missing)} maps of {len(photos)} photos, {len(cache)} are there")
    run = frozen_part(encoder)
    with StopRequest() as stop, progress([], "computing maps", total=len(missing), unit="map") as bar:
        for chunk in _chunks(missing):
            names, view = [photo for photo, _ in chunk], chunk[0][1]
            found = np.empty((len(names), *shape), np.float16)
            batches = [names[start : start + _BATCH] for start in range(0, len(names), _BATCH)]
            images = ahead(lambda batch, view=view: np.stack([_pixels(photos[p], view) for p in batch]), batches)
            for start, batch in zip(range(0, len(names), _BATCH), images, strict=True):
                if stop.requested:
                    return False
                found[start : start + len(batch)] = run(batch)
                bar.update(len(batch))
            _write(directory, view, names, found)
    return True


def frozen_part(encoder: keras.Model) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
    """Builds a function that runs the layers up to `FROZEN` in float32.

    Convolutions that are identities are left out, which changes nothing behind a ReLU.

    Args:
        encoder: From `build_encoder`, without batch norm and residual branches.

    Returns:
        A function from images (B, 224, 224, 3), uint8, to maps (B, H, W, C).
    """
    steps: list[Callable[[Any], Any]] = []
    for layer in _frozen_layers(encoder):
        if isinstance(layer, keras.layers.Conv2D):
            kernel, bias = (keras.ops.convert_to_numpy(value) for value in layer.weights)
            if np.array_equal(kernel, identity_kernel(kernel.shape[-1])) and not bias.any() and kernel.shape[2] > 3:
                continue
            wide = kernel.shape[2] >= _WINOGRAD_CHANNELS and layer.output.shape[1] % TILE == 0
            steps.append(winograd_convolution(kernel, bias) if wide else layer)
        else:
            steps.append(layer)

    @tf.function(reduce_retracing=False)  # type: ignore[untyped-decorator]
    def run(images: tf.Tensor) -> tf.Tensor:
        values = images
        for step in steps:
            values = step(values)
        return values

    return lambda images: np.asarray(run(tf.constant(images)))


def _frozen_layers(encoder: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields the layers behind the input up to `FROZEN`, a chain."""
    for layer in encoder.layers[1:]:
        yield layer
        if layer.name == FROZEN:
            return


def _chunks(places: Sequence[tuple[str, View]]) -> Iterator[Sequence[tuple[str, View]]]:
    """Cuts into pieces of one view and at most `SHARD_PHOTOS`."""
    for view in VIEWS:
        chosen = [place for place in places if place[1] == view]
        yield from (chosen[start : start + SHARD_PHOTOS] for start in range(0, len(chosen), SHARD_PHOTOS))


def _pixels(path: Path, view: View) -> npt.NDArray[np.uint8]:
    try:
        pixels = read_image(path.read_bytes()).pixels
    except (OSError, ImageError) as error:
        raise DataError(f"{path}: expected a photo that can be read: {error}; remove it") from error
    return pixels if view == "whole" else pixels[:, ::-1]


def _write(directory: Path, view: View, photos: Sequence[str], maps: Maps) -> None:
    """Writes a file of maps, then the note that says what is in it: without one the file counts for nothing."""
    number = len(list(directory.glob("maps-*.json")))
    path = directory / f"maps-{number:05d}.npy"
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, maps)
    with atomic_file(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps({"view": view, "photos": list(photos)}))


def _read_stamp(directory: Path) -> dict[str, Any] | None:
    path = directory / STAMP
    return dict(json.loads(path.read_text())) if path.exists() else None
