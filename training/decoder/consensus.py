"""The reward of self-critical training: CIDEr-D of single captions, less what words cost that references do not say."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_

import numpy as np
import numpy.typing as npt

Gram = tuple[str, ...]
LONGEST = 4
"""Words of the longest n-grams that CIDEr compares."""
SIGMA = 6.0
"""Standard deviation, in words, of the Gaussian by which CIDEr-D lowers scores of captions of other lengths."""


class Consensus:
    """CIDEr-D of single captions, with the document frequencies of a fixed set of references.

    Args:
        references: Words of every reference of each image.

    Source:
        Vedantam et al. 2015, sec. 3 and appendix (arXiv:1411.5726); the same numbers as pycocoevalcap's, which counts
        frequencies anew in whatever it scores, so that single captions cannot be scored with it.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[str]]]) -> None:
        counted = [[_count_grams(words) for words in image] for image in references]
        self._said = [reduce(or_, (Counter(words) for words in image), Counter[str]()) for image in references]
        self._frequency = Counter(gram for image in counted for gram in set().union(*image))
        self._images = np.log(len(references))
        self._vectors = [[self._vector(counts) for counts in image] for image in counted]

    def score(self, image: int, words: Sequence[str]) -> float:
        """Returns the CIDEr-D of a caption of an image, at least 0; a reference repeated reaches 10 at most."""
        ours, norms, length = self._vector(_count_grams(words))
        total = 0.0
        for theirs, their_norms, their_length in self._vectors[image]:
            products = np.zeros(LONGEST)
            for gram, weight in ours.items():
                if gram in theirs:
                    products[len(gram) - 1] += min(weight, theirs[gram]) * theirs[gram]
            cosines = products / np.maximum(norms * their_norms, 1e-12)
            total += cosines.mean() * np.exp(-((length - their_length) ** 2) / (2 * SIGMA**2))
        return float(10 * total / len(self._vectors[image]))

    def reward(self, image: int, words: Sequence[str], unsupported: float = 0.0) -> float:
        """Returns the CIDEr-D of a caption of an image, less a cost times the share of words that no reference says.

        A word said more often than in any one reference counts as one that none says, so that no thing is named twice.

        Source:
            The share is 1 less the modified unigram precision of BLEU (Papineni et al. 2002, sec. 2.1). Rohrbach et al.
            2018 (CHAIR, arXiv:1809.02156) count objects that are not there; here all words count.
        """
        beyond = Counter(words) - self._said[image]
        return self.score(image, words) - unsupported * beyond.total() / max(1, len(words))

    def _vector(self, counts: Mapping[Gram, int]) -> tuple[dict[Gram, float], npt.NDArray[np.float64], int]:
        """Returns the TF-IDF weight of each n-gram, the norm for each n (4,), and the length that CIDEr-D compares."""
        weights = {g: n * (self._images - np.log(max(1, self._frequency[g]))) for g, n in counts.items()}
        squares = np.zeros(LONGEST)
        for gram, weight in weights.items():
            squares[len(gram) - 1] += weight**2
        return weights, np.sqrt(squares), sum(n for gram, n in counts.items() if len(gram) == 2)


def _count_grams(words: Sequence[str]) -> Counter[Gram]:
    sizes = range(1, LONGEST + 1)
    return Counter(tuple(words[i : i + size]) for size in sizes for i in range(len(words) - size + 1))
