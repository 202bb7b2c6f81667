"""The frozen encoder's features of every photo, computed once and kept in the run directory."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.atomic import atomic_file
from training.distill import CHECKPOINT, load_student
from training.evaluate import split_batches
from training.records import INDEX, VOCABULARY

ENCODE_BATCH = 32


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Holds a split's features and captions.

    Attributes:
        features: The photo and its mirror image. Shape (P, 2, D), float32.
        names: File names, P of them.
        references: Sentences of each photo.
        rows: Photo of each caption. Shape (S,), int64.
        captions: Token ids of each caption with its end id, S of them.
    """

    features: npt.NDArray[np.float32]
    names: list[str]
    references: list[list[str]]
    rows: npt.NDArray[np.int64]
    captions: list[list[int]]


def load_features(directory: Path, encoder_run: Path, records: Path, split: str) -> FeatureSet:
    """Encodes a split's photos once, and reads the result on later calls.

    Args:
        directory: Where the features are kept, as `features-<split>.npz`.
        encoder_run: Run directory of the encoder.
        records: Finished records.
        split: `train` or `dev`.

    Returns:
        The features with their captions.
    """
    key = input_key(encoder_run, records)
    cache = directory / f"features-{split}.npz"
    if not cache.exists() or _stored_key(cache) != key:
        content = _encode_split(encoder_run, records, split)
        with atomic_file(cache) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, key=np.array(key), **content)
    stored = _read_cache(cache)
    texts: list[list[str]] = json.loads(str(stored["references"]))
    tokens: list[list[list[int]]] = json.loads(str(stored["tokens"]))
    rows = np.array([row for row, captions in enumerate(tokens) for _ in captions], np.int64)
    names: list[str] = json.loads(str(stored["names"]))
    return FeatureSet(stored["features"], names, texts, rows, [ids for captions in tokens for ids in captions])


def input_key(encoder_run: Path, records: Path) -> str:
    """Returns a hash of the encoder and the records that features, and so a decoder, belong to."""
    files = (encoder_run / CHECKPOINT, records / INDEX, records / VOCABULARY)
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def _stored_key(path: Path) -> str:
    with np.load(path, allow_pickle=False) as file:
        return str(file["key"])


def _read_cache(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _encode_split(encoder_run: Path, records: Path, split: str) -> dict[str, npt.NDArray[Any]]:
    encoder, _ = load_student(encoder_run)
    encode = tf.function(lambda images: encoder(images, training=False)["features"])
    features, names, references, tokens = [], [], [], []
    for batch in split_batches(records, split, ENCODE_BATCH, f"encoding {split}"):
        views = [encode(batch.images).numpy(), encode(batch.images[:, :, ::-1]).numpy()]
        features.append(np.stack(views, axis=1))  # (B, 2, D)
        names += [name.decode() for name in batch.names.numpy()]
        references += [[text.decode() for text in texts.numpy()] for texts in batch.captions]
        tokens += batch.tokens.to_list()
    parts = {"names": names, "references": references, "tokens": tokens}
    return {"features": np.concatenate(features)} | {name: np.array(json.dumps(part)) for name, part in parts.items()}
