"""Scores of captions files: each by itself, and whether one is better than another by more than chance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from model.errors import DataError
from training.data.mixing import by_source
from training.scoring.bootstrap import Difference, Scored, bleu_parts, paired_bootstrap
from training.scoring.captions import CaptionScores, choose_tokenizer, compare_captions
from training.scoring.files import matched, read_captions, read_references

REPEATED = (1, 2, 3)
"""Lengths of the n-grams whose repetition is counted."""

COUNTS = ("distinct captions", "vocabulary used")
"""Scores that are counts: a sample with images drawn twice has no such count."""


class ScoreReport(NamedTuple):
    """The scores of one or two captions files.

    Attributes:
        images: Number of images.
        files: Scores by metric, by the file's name. Those of metrics are times 100; repeated n-grams are percent.
        differences: The second file's score minus the first's, by metric, with a 95 % interval; empty for one file.
        tokenizer: Which tokenizer the scores were taken with, `ptb` or `showtell`.
        left_out: Why a metric was left out, by its name.
        samples: Samples of the bootstrap.
    """

    images: int
    files: dict[str, dict[str, float]]
    differences: dict[str, Difference]
    tokenizer: str
    left_out: dict[str, str]
    samples: int

    def notes(self) -> list[str]:
        """Returns sentences that say how the scores were taken."""
        notes = [f"{self.images} images, scores times 100, tokenizer {self.tokenizer}"]
        if self.differences:
            notes.append(f"intervals hold 95 % of {self.samples} paired bootstrap samples of the images")
        return notes + [f"{name} left out: {reason}" for name, reason in self.left_out.items()]

    def to_json(self) -> dict[str, Any]:
        """Returns the report as plain values."""
        told: dict[str, Any] = {"images": self.images, "tokenizer": self.tokenizer, "left_out": self.left_out}
        told["files"] = self.files
        if self.differences:
            told["samples"] = self.samples
            told["differences"] = {
                name: {"value": d.value, "low": d.low, "high": d.high, "verdict": d.verdict}
                for name, d in self.differences.items()
            }
        return told


def score_files(
    paths: Sequence[Path], references: Path, *,
    split: str = "dev", common: bool = False, tokenizer: str | None = None, samples: int = 1000, seed: int = 0,
    language: str | None = None,
) -> ScoreReport:  # fmt: skip
    """Scores one captions file, or two and their difference.

    Args:
        paths: One file or two; see `read_captions`.
        references: References of the same images; see `read_references`.
        split: Which photos of records.
        common: Whether images that are not in all files are left out; else they are an error.
        tokenizer: `ptb` or `showtell`; None for `ptb` where captions are English and Java is installed.
        samples: Samples of the bootstrap.
        seed: Of the bootstrap.
        language: Tag of the captions' language; None for that of records, or to find out whether it is English.

    Returns:
        Scores and differences.

    Raises:
        DataError: A file cannot be read, images differ, or the tokenizer fails or does not fit the language.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise DataError(f"expected two different files, received {paths[0]} twice; give the other one")
    files = {str(path): read_captions(path) for path in paths}
    given = read_references(references, split)
    found = given.language(language)
    tokenizer = choose_tokenizer(tokenizer, found)
    truth, captions = matched(given, files, common=common)
    scored, left_out = compare_captions(truth, captions, tokenizer=tokenizer, spice=True, language=found)
    differences: dict[str, Difference] = {}
    if len(paths) == 2:
        places = {image: place for place, image in enumerate(truth)}
        strata = [[places[image] for image in images] for images in by_source(truth).values()]
        first, second = (_as_scored(result) for result in scored.values())
        differences = paired_bootstrap(first, second, strata, samples=samples, seed=seed)
    tables = {name: result.scores | variety(result.words) for name, result in scored.items()}
    return ScoreReport(len(truth), tables, differences, tokenizer, left_out, samples)


def variety(captions: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Measures how varied captions are.

    Args:
        captions: A list of one tokenized caption by image.

    Returns:
        The number of different words in all captions, the mean words of a caption, and the percent of captions that
        say a sequence of so many words twice.
    """
    words = [texts[0].split() for texts in captions.values()]
    found: dict[str, float] = {
        "vocabulary used": float(len({word for caption in words for word in caption})),
        "words per caption": round(fmean(len(caption) for caption in words), 2),
    }
    for length in REPEATED:
        found[repeated_name(length)] = round(100 * fmean(_repeats(caption, length) for caption in words), 2)
    return found


def repeated_name(length: int) -> str:
    """Returns the name of the share of captions with a repeated n-gram."""
    return f"% with a {length}-gram twice"


def _repeats(words: Sequence[str], length: int) -> bool:
    grams = [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]
    return len(set(grams)) < len(grams)


def _as_scored(result: CaptionScores) -> Scored:
    truth = result.references
    words = [result.words[image][0].split() for image in truth]
    means = {
        name: np.array([values[image] for image in truth]) for name, values in result.images.items() if name != "METEOR"
    }
    means["words per caption"] = np.array([len(caption) for caption in words], np.float64)
    for length in REPEATED:
        repeated = [_repeats(caption, length) for caption in words]
        means[repeated_name(length)] = 100 * np.array(repeated, np.float64)
    return Scored(bleu_parts(truth, result.words), result.meteor_parts, means)
