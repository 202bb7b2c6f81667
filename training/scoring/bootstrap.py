"""The paired bootstrap: how far the difference between two sets of captions could be chance of the images."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from pycocoevalcap.bleu.bleu_scorer import BleuScorer

from training.progress import progress
from training.scoring.java import Floats, meteor_of

CHUNK = 50
"""Samples drawn at once: for 40,000 images they take 16 MB."""

SHARE = 0.95
"""Share of the samples that the interval holds."""


class Difference(NamedTuple):
    """The second set's score minus the first's.

    Attributes:
        value: Of all images.
        low: Lower end of the interval that holds 95 % of the samples.
        high: Its upper end.
    """

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Returns what can be said: `higher`, `lower`, or `not told from chance`, where the interval has 0 in it."""
        if self.low > 0:
            return "higher"
        return "lower" if self.high < 0 else "not told from chance"


class Scored(NamedTuple):
    """One set of captions, as far as the bootstrap needs it; images in the same order in both sets.

    Attributes:
        bleu: Of each image what BLEU adds up: matches and n-grams of each length, words, and words of the closest
            reference. Shape (images, 10).
        meteor: Of each image what METEOR adds up, shape (images, 23); None where it was left out.
        means: Scores that are the mean over the images, by metric. Shape (images,).
    """

    bleu: Floats
    meteor: Floats | None
    means: Mapping[str, Floats]


def bleu_parts(references: Mapping[str, Sequence[str]], captions: Mapping[str, Sequence[str]]) -> Floats:
    """Returns of each image what BLEU adds up; see `Scored`.

    Args:
        references: Tokenized reference sentences by image.
        captions: A list of one tokenized caption by image.
    """
    scorer = BleuScorer(n=4)
    for image, texts in references.items():
        scorer += (captions[image][0], list(texts))
    rows = []
    for parts in scorer.ctest:
        length = parts["testlen"]
        closest = min((abs(other - length), other) for other in parts["reflen"])[1]
        rows.append([*parts["correct"], *parts["guess"], length, closest])
    return np.array(rows, np.float64)


def bleu(parts: Floats) -> Floats:
    """Returns BLEU-1 to 4 times 100 of sums of parts, as pycocoevalcap computes it.

    Args:
        parts: Shape (…, 10).

    Returns:
        Shape (…, 4).
    """
    correct = parts[..., :4]
    guessed = parts[..., 4:8]
    ratio = (parts[..., 8] + 1e-15) / (parts[..., 9] + 1e-9)
    precision = np.cumprod((correct + 1e-15) / (guessed + 1e-9), axis=-1) ** (1 / np.arange(1, 5))
    brevity = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    return np.asarray(100 * precision * brevity[..., None])


def paired_bootstrap(
    first: Scored, second: Scored, strata: Sequence[Sequence[int]], *, samples: int, seed: int
) -> dict[str, Difference]:
    """Compares two sets of captions of the same images on images drawn again and again, with replacement.

    Args:
        first: The set that is compared with.
        second: The set that is compared.
        strata: Positions of the images of each source, from which as many are drawn as there are. CIDEr is the mean
            over the sources.
        samples: How often all images are drawn.
        seed: Of the draws.

    Returns:
        The difference by metric: BLEU-1 to 4, METEOR where both have it, and those of `means`.

    Source:
        Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation", with percentile intervals; how
        rare a word is, which CIDEr counts by, stays that of all images.
    """
    images = len(first.bleu)
    random = np.random.default_rng(seed)
    parts = [_differences(first, second, np.ones((1, images)), strata)]
    bar = progress(range(0, samples, CHUNK), "bootstrap", unit=f"{CHUNK} samples")
    for start in bar:
        counts = np.zeros((min(CHUNK, samples - start), images))
        for places in strata:
            counts[:, list(places)] = random.multinomial(len(places), [1 / len(places)] * len(places), len(counts))
        parts.append(_differences(first, second, counts, strata))
    tail = 100 * (1 - SHARE) / 2
    found = {}
    for name in parts[0]:
        drawn = np.concatenate([part[name] for part in parts[1:]])
        low, high = np.percentile(drawn, [tail, 100 - tail])
        found[name] = Difference(float(parts[0][name][0]), float(low), float(high))
    return found


def _differences(first: Scored, second: Scored, counts: Floats, strata: Sequence[Sequence[int]]) -> dict[str, Floats]:
    """Returns the differences on samples that have each image so many times, (samples, images), by metric."""
    bleus = bleu(counts @ second.bleu) - bleu(counts @ first.bleu)  # (samples, 4)
    found = {f"BLEU-{number}": bleus[:, number - 1] for number in range(1, 5)}
    if first.meteor is not None and second.meteor is not None:
        found["METEOR"] = meteor_of(counts @ second.meteor) - meteor_of(counts @ first.meteor)
    for name, values in first.means.items():
        found[name] = counts @ ((second.means[name] - values) * _weights(name, strata, len(values)))
    return found


def _weights(name: str, strata: Sequence[Sequence[int]], images: int) -> Floats:
    """Returns what an image counts for in a mean: of CIDEr as much for each source, of others for each image."""
    weights = np.full(images, 1 / images)
    if name == "CIDEr":
        for places in strata:
            weights[list(places)] = 1 / (len(strata) * len(places))
    return weights
