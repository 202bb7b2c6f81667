"""How hypotheses continue: which words are allowed, and which continuations are kept or drawn. NumPy only."""

from typing import Any

import numpy as np
import numpy.typing as npt

from model.options import Search
from model.vocabulary import SPECIAL

_Floats = npt.NDArray[np.float32]
_Ints = npt.NDArray[np.int32]


def allowed(log_probs: _Floats, ids: _Ints, said: _Ints, search: Search, end_id: int) -> _Floats:
    """Makes words impossible that a search does not allow.

    Args:
        log_probs: Log-probabilities of the next words. Shape (N, M).
        ids: Their ids. Shape (N, M).
        said: The words of each hypothesis. Shape (N, T).
        search: Fewest words, and what may not be repeated.
        end_id: Id of the end token.

    Returns:
        The log-probabilities. A hypothesis that no word would be left for keeps all of them; words are said again
        rather than that it ends too early. Shape (N, M).
    """
    if said.shape[1] < search.min_words:
        log_probs = _without(log_probs, ids == end_id)
    if 0 < search.no_repeat_ngram <= said.shape[1]:
        repeats = _repeats(ids, said, search.no_repeat_ngram)
        log_probs = log_probs if repeats is None else _without(log_probs, repeats)
    if search.repeatable_words:
        rare = ids >= len(SPECIAL) + search.repeatable_words  # ids go by falling frequency
        log_probs = _without(log_probs, rare & (ids[:, :, None] == said[:, None]).any(axis=2))
    return log_probs


def continuations(
    totals: npt.NDArray[np.float64], steps: _Ints, words: _Ints, position: int, search: Search
) -> npt.NDArray[np.intp]:
    """Chooses the continuations of each group's hypotheses that become its next ones, or draws one for each.

    Args:
        totals: Log-probabilities with the next word, minus infinity where there is none. Shape (B, S, M): S are the
            slots of all groups, one group after the other.
        steps: Words of each hypothesis, the next one counted. Shape (B, S).
        words: The next words; negative where others need not avoid them. Shape (B, S, M).
        position: Of the next word.
        search: Groups, what they avoid, and how they draw.

    Returns:
        Of each next hypothesis the slot that it continues, times M, plus the word's place. Shape (B, S).

    Source:
        Vijayakumar et al. 2016, diverse beam search with the Hamming diversity (arXiv:1610.02424), algorithm 1. Ends
        count for nothing, so that no group is kept from ending, and captions are ranked by their probability alone.
        Drawing is by the Gumbel-max trick; from the best words alone it is that of Fan et al. 2018 (arXiv:1805.04833).
    """
    images, slots, width = totals.shape
    size = search.beam_size
    if search.temperature is not None:
        drawn = (totals / search.temperature + _noise(search, position, words)).argmax(axis=2)  # (B, S)
        return np.asarray(drawn + np.arange(slots) * width)
    earlier = np.empty((images, 0), np.int32)
    chosen = []
    for first in range(0, slots, size):
        part = slice(first, first + size)
        scores = totals[:, part]  # (B, K, M)
        if first:
            same = (words[:, part, :, None] == earlier[:, None, None, :]).sum(axis=3)  # (B, K, M)
            scores = scores - search.diversity * same
        flat = (scores / steps[:, part, None] ** search.length_penalty).reshape(images, -1)  # (B, K * M)
        order = np.argsort(-flat, axis=1, kind="stable")[:, :size]  # (B, K)
        chosen.append(order + first * width)
        if first + size < slots:
            said = np.take_along_axis(words[:, part].reshape(images, -1), order, axis=1)
            counts = (said >= 0) & np.isfinite(np.take_along_axis(flat, order, axis=1))
            earlier = np.concatenate([earlier, np.where(counts, said, _NO_WORD)], axis=1)
    return np.concatenate(chosen, axis=1)


_NO_WORD = np.iinfo(np.int32).max
"""An id that no word has."""


def _noise(search: Search, position: int, words: _Ints) -> Any:
    """Returns Gumbel noise for the next words (B, S, M) of groups of one.

    It depends on the seed, the group, the position and the word alone. So an image is captioned alike in any batch, and
    engines that compute a little differently draw the same unless two words are as good as equal.
    """
    most = max(int(words.max()) + 1, 1)
    drawn = [np.random.default_rng((search.seed, group, position)).gumbel(size=most) for group in range(search.groups)]
    # The end has the noise of word 0, which is padding and never said.
    return np.stack(drawn)[np.arange(search.groups)[:, None], np.maximum(words, 0)]


def _repeats(ids: _Ints, said: _Ints, length: int) -> npt.NDArray[np.bool_] | None:
    """Returns which words (N, M) complete an n-gram of that length that their hypothesis has already; None if none."""
    grams = said.shape[1] - length + 1
    last = said[:, grams:]  # (N, n - 1)
    begins_so = np.ones((len(said), grams), np.bool_)  # (N, G)
    for place in range(length - 1):
        begins_so &= said[:, place : place + grams] == last[:, place, None]
    if not begins_so.any():
        return None
    ends = said[:, length - 1 :]  # (N, G)
    found: npt.NDArray[np.bool_] = ((ids[:, :, None] == ends[:, None]) & begins_so[:, None]).any(axis=2)
    return found  # (N, M)


def _without(log_probs: _Floats, banned: npt.NDArray[np.bool_]) -> _Floats:
    """Makes banned words impossible, unless they are all that a hypothesis has. Shapes (N, M)."""
    banned = banned & (~banned & np.isfinite(log_probs)).any(axis=1, keepdims=True)
    return np.where(banned, np.float32(-np.inf), log_probs)
