"""The captions of records, without their photos."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

from model.errors import DataError
from model.scripts import Segmentation
from model.vocabulary import PAD_ID
from training.data.damage import damaged_records
from training.data.language import Language
from training.data.records import check_kind, read_language, shard_paths
from training.progress import progress

CAPTIONS = 64
"""Reference captions whose words are scored at once: logits of 64 long captions and 10,000 words take 100 MB."""


def language_of(records: Path, segmentation: Segmentation) -> Language:
    """Returns the language of records whose words must be parted as those of a captioner are.

    Raises:
        DataError: They hold no captions, are incomplete, or their words are parted otherwise.
    """
    check_kind(records, "captions")
    language = read_language(records)
    if language.segmentation != segmentation:
        raise DataError(
            f"{records}: expected records with the segmentation {segmentation}, as the captioner has, found "
            f"{language.segmentation}; prepare them with --segmentation {segmentation}"
        )
    return language


def read_record_captions(directory: Path, split: str) -> dict[str, list[str]]:
    """Reads the captions of a split's photos.

    Args:
        directory: Finished records of captions.
        split: `train`, `dev` or `test`.

    Returns:
        Captions by the photo's name.

    Raises:
        DataError: The records are incomplete or damaged, or have no such split.
    """
    check_kind(directory, "captions")
    paths = shard_paths(directory, split)
    spec = {"name": tf.io.FixedLenFeature((), tf.string), "captions": tf.io.RaggedFeature(tf.string)}
    found: dict[str, list[str]] = {}
    bar: tqdm[str] = progress([], f"captions of {split}", unit="photo")
    with bar:
        try:
            for record in tf.data.TFRecordDataset(paths):
                values = tf.io.parse_single_example(record, spec)
                found[values["name"].numpy().decode()] = [text.decode() for text in values["captions"].numpy()]
                bar.update()
        except tf.errors.OpError as error:
            raise damaged_records(directory, split, error) from error
    return found


def padded_batches(captions: Iterable[tuple[int, Sequence[int]]]) -> Iterator[tuple[list[int], npt.NDArray[np.int32]]]:
    """Yields reference captions in batches to be scored, the shortest first, so that little padding is computed.

    Args:
        captions: Row of the photo and token ids of each.

    Yields:
        Rows, at most CAPTIONS of them, and their captions, shape (S, T), padded.
    """
    ordered = sorted(captions, key=lambda caption: len(caption[1]))
    for start in range(0, len(ordered), CAPTIONS):
        part = ordered[start : start + CAPTIONS]
        tokens = np.full((len(part), len(part[-1][1])), PAD_ID, np.int32)
        for index, (_, ids) in enumerate(part):
            tokens[index, : len(ids)] = ids
        yield [row for row, _ in part], tokens
