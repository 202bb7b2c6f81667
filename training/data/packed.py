"""Photos with captions and classes in one directory that is read without TensorFlow, on another machine too."""

import io
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.atomic import atomic_file
from model.bundle import VOCABULARY
from model.config import IMAGE_PIXELS
from model.errors import DataError, ImageError
from model.image import read_image
from model.vocabulary import Vocabulary
from training.data.labelled import UNKNOWN, class_of
from training.data.photo_cache import photo_key
from training.progress import progress

TABLE = "table.npz"
PIXELS = "photos.bin"

MOST_CAPTIONS = 5
"""Most captions of a photo that are kept, as many as data sets have of each: all photos are padded to the most."""

SPLITS = ("train", "dev", "held_out")
"""Splits by their number: `held_out` has classes and no captions, and is not trained on."""


@dataclass(frozen=True, slots=True)
class Sentences:
    """The captions of a photo.

    Attributes:
        name: File name, with its source in front where there are several.
        split: `train` or `dev`.
        tokens: Ids of each caption, with their end ids.
        weight: How much each of them counts.
    """

    name: str
    split: str
    tokens: Sequence[Sequence[int]]
    weight: float


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed data set.

    Attributes:
        names: Name of each photo, P of them.
        splits: Number of its split in `SPLITS`. Shape (P,).
        tokens: Ids of its captions, padded with 0; all 0 where there is none. Shape (P, captions, T), int32.
        weights: How much each of its captions counts; 0 where there is none. Shape (P,), float32.
        labels: Its class, or `UNKNOWN`. Shape (P,), int32.
        pixels: The photos. Shape (P, 224, 224, 3), uint8.
        vocabulary: Words of the ids.
    """

    names: Sequence[str]
    splits: npt.NDArray[np.int8]
    tokens: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    pixels: npt.NDArray[np.uint8]
    vocabulary: Vocabulary

    def rows(self, split: str, *, captioned: bool = False) -> npt.NDArray[np.int64]:
        """Returns the rows of a split, of all photos or of those with captions."""
        chosen = self.splits == SPLITS.index(split)
        return np.flatnonzero(chosen & (self.weights > 0) if captioned else chosen)


def pack(
    directory: Path, captioned: Sequence[tuple[bytes, Sentences]], vocabulary: Vocabulary, photos: Sequence[Path],
    held_out: frozenset[str], classes: Mapping[str, int], quality: int,
) -> None:  # fmt: skip
    """Writes a packed data set. A photo that is there twice is kept once.

    Args:
        directory: Where it goes.
        captioned: Files of captioned photos with their captions.
        vocabulary: Words of these.
        photos: Further photos; those whose file is a captioned one's tell its class alone.
        held_out: File names among them that are not trained on.
        classes: Class by WordNet id.
        quality: Quality of the WebP files that the photos are kept as, in [1, 100].

    Raises:
        DataError: Photos cannot be read; the message names the first ten.
    """
    entries: dict[str, dict[str, Any]] = {}
    files: list[bytes | Path] = []
    for content, sentences in captioned:
        key = photo_key(content)
        if key not in entries:
            entries[key] = {"name": sentences.name, "split": sentences.split, "label": UNKNOWN, "captions": sentences}
            files.append(content)
    for path in photos:
        key = photo_key(path.read_bytes())
        entry = entries.get(key)
        if entry is None:
            split = "held_out" if path.name in held_out else "train"
            entry = {"name": path.name, "split": split, "label": UNKNOWN, "captions": None}
            entries[key] = entry
            files.append(path)
        label = class_of(path, classes)
        entry["label"] = label if label != UNKNOWN else entry["label"]
    directory.mkdir(parents=True, exist_ok=True)
    sizes = []
    unreadable = []
    with atomic_file(directory / PIXELS) as temporary, temporary.open("wb") as file, ThreadPoolExecutor() as pool:
        encoded = pool.map(lambda content: _encoded(content, quality), files)
        for entry, result in zip(entries.values(), progress(encoded, "packing", total=len(files)), strict=True):
            if isinstance(result, str):
                unreadable.append(f"{entry['name']}: {result}")
                continue
            sizes.append(len(result))
            file.write(result)
        if unreadable:
            some = "\n".join(unreadable[:10])
            raise DataError(
                f"expected photos that can be read, {len(unreadable)} cannot; exclude or remove them:\n{some}"
            )
    with atomic_file(directory / VOCABULARY) as temporary:
        vocabulary.save(temporary)
    _write_table(directory / TABLE, list(entries.values()), sizes)


def _encoded(content: bytes | Path, quality: int) -> bytes | str:
    try:
        pixels = read_image(content if isinstance(content, bytes) else content.read_bytes()).pixels
    except (OSError, ImageError) as error:
        return str(error)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=quality)
    return buffer.getvalue()


def _write_table(path: Path, entries: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> None:
    captions = [() if entry["captions"] is None else entry["captions"].tokens[:MOST_CAPTIONS] for entry in entries]
    longest = max((len(ids) for texts in captions for ids in texts), default=1)
    tokens = np.zeros((len(entries), max(1, *map(len, captions)), longest), np.int32)
    for row, texts in enumerate(captions):
        for place, ids in enumerate(texts):
            tokens[row, place, : len(ids)] = ids
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            names=np.array(json.dumps([entry["name"] for entry in entries])),
            splits=np.array([SPLITS.index(entry["split"]) for entry in entries], np.int8),
            tokens=tokens,
            weights=np.array([e["captions"].weight if e["captions"] else 0 for e in entries], np.float32),
            labels=np.array([entry["label"] for entry in entries], np.int32),
            ends=np.cumsum(sizes),
        )


def read_packed(directory: Path) -> Packed:
    """Reads and decodes a packed data set.

    Raises:
        DataError: It is missing or incomplete.
    """
    try:
        with np.load(directory / TABLE, allow_pickle=False) as file:
            names = json.loads(str(file["names"]))
            table = {name: file[name] for name in ("splits", "tokens", "weights", "labels", "ends")}
        content = np.memmap(directory / PIXELS, np.uint8, "r")
        vocabulary = Vocabulary.load(directory / VOCABULARY)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{directory}: expected packed photos, received: {error}; pack them again") from error
    ends = table.pop("ends")
    if len(content) != ends[-1]:
        raise DataError(f"{directory / PIXELS}: expected {ends[-1]} bytes, found {len(content)}; pack the photos again")
    pixels = np.empty((len(names), IMAGE_PIXELS, IMAGE_PIXELS, 3), np.uint8)

    def decode(row: int) -> None:
        start = 0 if row == 0 else int(ends[row - 1])
        with Image.open(io.BytesIO(content[start : int(ends[row])].tobytes()), formats=["WEBP"]) as image:
            pixels[row] = np.asarray(image.convert("RGB"))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in progress(pool.map(decode, range(len(names))), "reading photos", total=len(names), unit="photo"):
            pass
    return Packed(names, pixels=pixels, vocabulary=vocabulary, **table)
