"""The frozen encoder's features of every photo, computed once and kept beside the records."""

import json
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.atomic import atomic_file
from training.encoders import encoder_file, load_encoder
from training.evaluate import split_batches
from training.provenance import key_of
from training.records import INDEX, VOCABULARY, check_kind

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


def load_features(encoder_run: Path, records: Path, split: str) -> FeatureSet:
    """Encodes a split's photos once, and reads the result on later calls.

    Args:
        encoder_run: Where the encoder comes from; see `training.encoders.encoder_file`.
        records: Finished records; the features are kept there, in `features/`.
        split: `train` or `dev`.

    Returns:
        The features with their captions.

    Raises:
        DataError: Records or encoder are missing or damaged.
    """
    cache = records / "features" / f"{input_key(encoder_run, records)[:16]}-{split}.npz"
    if not cache.exists():
        found = encode_split(load_encoder(encoder_run).network, records, split)
        parts = {name: np.array(json.dumps(getattr(found, name))) for name in ("names", "references", "captions")}
        with atomic_file(cache) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, features=found.features, rows=found.rows, **parts)
    with np.load(cache, allow_pickle=False) as file:
        names, references, captions = (json.loads(str(file[name])) for name in ("names", "references", "captions"))
        return FeatureSet(file["features"], names, references, file["rows"], captions)


def input_key(encoder_run: Path, records: Path) -> str:
    """Returns a hash of the encoder and the records that features, and so a decoder, belong to.

    Raises:
        DataError: There is no such encoder, or the records are incomplete or hold classes.
    """
    check_kind(records, "captions")
    return key_of(encoder_file(encoder_run), records / INDEX, records / VOCABULARY)


def encode_split(encoder: keras.Model, records: Path, split: str) -> FeatureSet:
    """Encodes every photo of a split and its mirror image.

    Args:
        encoder: The encoder, as it is.
        records: Finished caption records.
        split: `train` or `dev`.

    Returns:
        The features with their captions.

    Raises:
        DataError: The records are incomplete or damaged, or hold classes.
    """
    encode = tf.function(lambda images: encoder(images, training=False)["features"])
    features, names, references, tokens = [], [], [], []
    for batch in split_batches(records, split, ENCODE_BATCH, f"encoding {split}"):
        views = [encode(batch.images).numpy(), encode(batch.images[:, :, ::-1]).numpy()]
        features.append(np.stack(views, axis=1))  # (B, 2, D)
        names += [name.decode() for name in batch.names.numpy()]
        references += [[text.decode() for text in texts.numpy()] for texts in batch.captions]
        tokens += batch.tokens.to_list()
    rows = np.array([row for row, captions in enumerate(tokens) for _ in captions], np.int64)
    captions = [ids for sentences in tokens for ids in sentences]
    return FeatureSet(np.concatenate(features), names, references, rows, captions)
