"""A frozen encoder's features of all photos, computed once and cached beside the records."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.atomic import atomic_file
from training.data.damage import damaged_records
from training.data.mixing import check_weights, source_of
from training.data.packed import Sentences
from training.data.photo_cache import VIEWS, PhotoCache, View, photo_key
from training.data.pipeline import CAPTION_SPEC, split_batches
from training.data.records import INDEX, VOCABULARY, check_kind, has_split, read_index, read_weights, shard_paths
from training.data.shards import count_records
from training.encoder.encoding import Encoding, encoding
from training.encoder.maps import FROZEN, LAST, MAPS, open_maps, run_layers
from training.encoder.sources import features_key, load_encoder
from training.progress import note, progress
from training.provenance import key_of

ENCODE_BATCH = 32

FEATURES = "features"
"""Directory of the features, beside the records."""


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """The features and captions of a split.

    Attributes:
        features: Of the photo and, if cached, of its mirror image. Shape (P, 1 or 2, D), float32.
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

    def first(self, photos: int) -> "FeatureSet":
        """Returns the first photos with their captions."""
        count = int(np.searchsorted(self.rows, photos))
        by_photo = (self.features[:photos], self.names[:photos], self.references[:photos])
        return FeatureSet(*by_photo, self.rows[:count], self.captions[:count])


Features = Callable[[Path, Path, str, Path | None], FeatureSet]
"""A function from encoder, records, split and maps to features: `load_features`, or `sketched_features`."""


class RawRecord(NamedTuple):
    """A caption record as it is stored.

    Attributes:
        image: The file's bytes. Scalar, string.
        name: File name. Scalar, string.
        captions: Sentences. Shape (captions,), string.
        tokens: Ids of all captions, end ids included. Ragged shape (captions, None), int64.
    """

    image: Any
    name: Any
    captions: Any
    tokens: Any


def raw_records(directory: Path, split: str) -> Iterator[RawRecord]:
    """Yields a split's records in their order, their photos not decoded.

    Raises:
        DataError: The directory is incomplete, or a record is damaged.
    """
    try:
        for record in tf.data.TFRecordDataset(shard_paths(directory, split)):
            values = tf.io.parse_single_example(record, CAPTION_SPEC)
            tokens = tf.RaggedTensor.from_row_lengths(values["tokens"], values["lengths"])
            yield RawRecord(values["image"], values["name"], values["captions"], tokens)
    except tf.errors.OpError as error:
        raise damaged_records(directory, split, error) from error


def captioned_photos(directory: Path) -> list[tuple[bytes, Sentences]]:
    """Returns the files of all photos of train and dev with their captions, to be packed.

    Raises:
        DataError: The directory is incomplete, or a record is damaged.
    """
    weights = read_weights(directory)
    found = []
    for split in ("train", "dev"):
        for record in raw_records(directory, split) if has_split(directory, split) else ():
            name = record.name.numpy().decode()
            sentences = Sentences(name, split, record.tokens.to_list(), weights.get(source_of(name), 1.0))
            found.append((record.image.numpy(), sentences))
    return found


def load_features(encoder_run: Path, records: Path, split: str, maps: Path | None = None) -> FeatureSet:
    """Returns a split's features: computes them on the first call, reads them on later ones.

    Args:
        encoder_run: Where the encoder comes from; see `training.encoder.sources.encoder_file`.
        records: Finished records; the features are cached there, in `features/`.
        split: `train` or `dev`.
        maps: Directory of cached maps, see `training.encoder.maps`, so that only the last block runs; None to run the
            whole encoder.

    Returns:
        The features with their captions.

    Raises:
        DataError: Records or encoder are missing or damaged, or maps of some photos are missing.
    """
    views = VIEWS
    if maps is not None:
        views = known_views(PhotoCache(maps), records, split)
    name = "" if maps is None else f"-maps-{len(views)}"
    cache = _cache_of(encoder_run, records, split, name)
    if not cache.exists():
        if maps is None:
            found = encode_split(encoding(encoder_run), records, split)
        else:
            found = encode_maps(load_encoder(encoder_run).network, records, split, maps, views)
        parts = {name: np.array(json.dumps(getattr(found, name))) for name in ("names", "references", "captions")}
        with atomic_file(cache) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, features=found.features, rows=found.rows, **parts)
    return read_features(cache)


def read_features(cache: Path) -> FeatureSet:
    """Reads a file of features that `load_features` has written."""
    with np.load(cache, allow_pickle=False) as file:
        names, references, captions = (json.loads(str(file[name])) for name in ("names", "references", "captions"))
        return FeatureSet(file["features"], names, references, file["rows"], captions)


def key_prefix(key: str) -> str:
    """Returns how the names of files begin that hold features of these inputs; see `input_key`."""
    return key[:16]


def sketched_features(encoder_run: Path, records: Path, split: str, maps: Path | None = None) -> FeatureSet:
    """Returns what stands for a split's features in an estimate: those of a batch of photos, over and over.

    Where they are known already they are read, and maps are read too: that takes little time.
    """
    if maps is not None or _cache_of(encoder_run, records, split, "").exists():
        return load_features(encoder_run, records, split, maps)
    few = encode_split(encoding(encoder_run), records, split, batches=1)
    count = count_records(read_index(records), split)
    of_photo: list[list[list[int]]] = [[] for _ in few.names]
    for row, ids in zip(few.rows, few.captions, strict=True):
        of_photo[row].append(ids)
    places = np.arange(count) % len(few.names)
    captions = [ids for place in places for ids in of_photo[place]]
    rows = np.array([row for row, place in enumerate(places) for _ in of_photo[place]], np.int64)
    names = [few.names[place] for place in places]
    return FeatureSet(few.features[places], names, [few.references[place] for place in places], rows, captions)


def _cache_of(encoder_run: Path, records: Path, split: str, name: str) -> Path:
    return records / FEATURES / f"{key_prefix(input_key(encoder_run, records))}-{split}{name}.npz"


def input_key(encoder_run: Path, records: Path) -> str:
    """Returns a hash of an encoder's features and records: the inputs that a decoder was made from.

    Raises:
        DataError: There is no such encoder, or the records are incomplete or hold classes.
    """
    check_kind(records, "captions")
    parts = (features_key(encoder_run), key_of(records / INDEX, records / VOCABULARY))
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def known_views(maps: PhotoCache, records: Path, split: str) -> tuple[View, ...]:
    """Returns the views that have maps for every photo of a split: the photo itself, or also its mirror image."""
    keys = [photo_key(record.image.numpy()) for record in raw_records(records, split)]
    if all((key, "mirrored") in maps for key in keys):
        return VIEWS
    note(f"no maps of the mirror images of {split}: training without them")
    return ("whole",)


def encode_maps(encoder: keras.Model, records: Path, split: str, directory: Path, views: Sequence[View]) -> FeatureSet:
    """Encodes every photo of a split from cached maps, by the encoder's last block alone.

    Args:
        encoder: The encoder.
        records: Finished caption records.
        split: `train` or `dev`.
        directory: The maps of its frozen part.
        views: Views of each photo, in this order.

    Returns:
        The features with their captions.

    Raises:
        DataError: The maps are of another encoder, or those of a photo are missing.
    """
    maps = open_maps(directory, encoder)
    last_block = run_layers(encoder, FROZEN, LAST)
    head = keras.Model(encoder.get_layer(LAST).output, encoder.output["features"])
    encode = tf.function(lambda values: head(values, training=False))
    found = list(raw_records(records, split))
    keys = [photo_key(record.image.numpy()) for record in found]
    features = np.empty((len(keys), len(views), head.output.shape[-1]), np.float32)
    starts = range(0, len(keys), ENCODE_BATCH)
    for start in progress(starts, f"encoding {split}", unit="batch"):
        for place, view in enumerate(views):
            batch = np.stack([maps.read(MAPS, key, view) for key in keys[start : start + ENCODE_BATCH]])
            features[start : start + len(batch), place] = encode(last_block(batch.astype(np.float32))).numpy()
    tokens = [record.tokens.to_list() for record in found]
    rows = np.array([row for row, captions in enumerate(tokens) for _ in captions], np.int64)
    names = [record.name.numpy().decode() for record in found]
    references = [[text.decode() for text in record.captions.numpy()] for record in found]
    return FeatureSet(features, names, references, rows, [ids for sentences in tokens for ids in sentences])


def encode_split(encode: Encoding, records: Path, split: str, batches: int | None = None) -> FeatureSet:
    """Encodes every photo of a split and its mirror image.

    Args:
        encode: From `encoding` or `encoding_of`.
        records: Finished caption records.
        split: `train` or `dev`.
        batches: Batches of `ENCODE_BATCH` photos after which to stop; None for all.

    Returns:
        The features with their captions.

    Raises:
        DataError: The records are incomplete or damaged, or hold classes.
    """
    features = []
    names = []
    references = []
    tokens = []
    for batch in islice(split_batches(records, split, ENCODE_BATCH, f"encoding {split}"), batches):
        images = batch.images.numpy()
        features.append(np.stack([encode(images), encode(images[:, :, ::-1])], axis=1))  # (B, 2, D)
        names += [name.decode() for name in batch.names.numpy()]
        references += [[text.decode() for text in texts.numpy()] for texts in batch.captions]
        tokens += batch.tokens.to_list()
    rows = np.array([row for row, captions in enumerate(tokens) for _ in captions], np.int64)
    captions = [ids for sentences in tokens for ids in sentences]
    return FeatureSet(np.concatenate(features), names, references, rows, captions)


def weighted(
    split: FeatureSet, recorded: Mapping[str, float], given: Mapping[str, float]
) -> tuple[FeatureSet, npt.NDArray[np.float32]]:
    """Returns the weight of each caption, by the source of its photo; captions of weight 0 are left out.

    Args:
        split: Photos with their captions.
        recorded: Weights that the records have.
        given: Weights that replace them.

    Returns:
        The split without captions of weight 0, and the weights (S,) of those that remain.

    Raises:
        DataError: A weight is for a source that is not there.
    """
    sources = [source_of(name) for name in split.names]
    check_weights(given, dict.fromkeys(sources))
    by_photo = np.array([given.get(source, recorded.get(source, 1.0)) for source in sources], np.float32)
    weights = by_photo[split.rows]
    kept = np.flatnonzero(weights > 0)
    captions = [split.captions[index] for index in kept]
    return replace(split, rows=split.rows[kept], captions=captions), weights[kept]
