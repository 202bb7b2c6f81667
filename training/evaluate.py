"""Scoring a captioner on a split of records."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from tqdm import tqdm

from model.captioner import Captioner
from model.errors import DataError
from training.metrics import caption_scores, default_tokenizer
from training.pipeline import ImageRecord, image_batches
from training.progress import progress
from training.records import read_index


class Evaluation(NamedTuple):
    """Holds scores and the captions that they are of.

    Attributes:
        scores: Scores times 100 by metric name, and the count of distinct captions.
        captions: Best caption by file name.
        references: Reference captions by file name.
        tokenizer: Which tokenizer the scores were taken with, `ptb` or `showtell`.
    """

    scores: dict[str, float]
    captions: dict[str, str]
    references: dict[str, list[str]]
    tokenizer: str


def evaluate(
    captioner: Captioner, records: Path, split: str, *, beam_size: int | None = None, batch_size: int = 32
) -> Evaluation:
    """Captions every image of a split and scores the best captions.

    Args:
        captioner: What to score.
        records: Finished records.
        split: `train` or `dev`.
        beam_size: Hypotheses kept; None for the captioner's default.
        batch_size: Images captioned at once.

    Returns:
        Scores, captions and references.

    Raises:
        DataError: The records are incomplete.
    """
    captions: dict[str, str] = {}
    references: dict[str, list[str]] = {}
    for batch in split_batches(records, split, batch_size, f"captioning {split}"):
        names = [name.decode() for name in batch.names.numpy()]
        predictions = captioner.predict(batch.images.numpy(), beam_size=beam_size, classes=0)
        captions |= {name: p.captions[0].text for name, p in zip(names, predictions, strict=True)}
        references |= {n: [t.decode() for t in texts.numpy()] for n, texts in zip(names, batch.captions, strict=True)}
    tokenizer = default_tokenizer()
    return Evaluation(caption_scores(references, captions, tokenizer=tokenizer), captions, references, tokenizer)


def split_batches(records: Path, split: str, batch_size: int, label: str) -> Iterator[ImageRecord]:
    """Yields the batches of a split under a progress bar that counts images.

    Raises:
        DataError: A record is damaged, or records are missing.
    """
    total = sum(shard.records for shard in read_index(records) if shard.name.startswith(f"{split}-"))
    bar: tqdm[ImageRecord] = progress([], label, total=total, unit="photo")
    found = 0
    with bar:
        try:
            for batch in image_batches(records, split, batch_size):
                yield ImageRecord(*batch)
                found += len(batch[1])
                bar.update(len(batch[1]))
        except tf.errors.OpError as error:
            raise DataError(f"{records}: expected whole records of {split}, one after {found} is damaged") from error
    if found != total:
        raise DataError(f"{records}: expected {total} records of {split}, found {found}; prepare the records again")
