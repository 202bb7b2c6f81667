"""The captions of records, without their photos."""

from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from training.data.records import check_kind, damaged_records, shard_paths
from training.progress import progress


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
        except tf.errors.DataLossError as error:
            raise damaged_records(directory, split, error) from error
    return found
