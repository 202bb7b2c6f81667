"""Greedy and beam search over an injected step function. NumPy only: knows no layer and no engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from model.config import SearchConfig

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Wanted = Callable[[], Sequence[bool]]
"""Returns for each image of a batch whether anyone still waits for it."""


class Step(Protocol):
    """A function that scores the next word of every hypothesis."""

    def __call__(self, tokens: Ints, parents: Ints, state: Any, /) -> tuple[Floats, Ints, Any]:
        """Advances hypotheses.

        Args:
            tokens: Last word of each hypothesis. Shape (N,), int32.
            parents: Row of `state` that each hypothesis continues. Shape (N,), int32.
            state: State from the last call; opaque to the search.

        Returns:
            log_probs: Log-probabilities of the best next words, falling. Shape (N, M), M at least min(K, V).
            ids: Their ids. Shape (N, M), int32.
            state: State after `tokens`, N rows.
        """


@dataclass(frozen=True, slots=True)
class FoundCaption:
    """One caption that the search found.

    Attributes:
        tokens: Word ids without the end id.
        word_log_probs: Natural log-probability of each word given those before it.
        log_prob: Natural log-probability of the whole, the end included where the caption ended by itself.
        score: Ranks captions: `log_prob / steps ** length_penalty`.
    """

    tokens: tuple[int, ...]
    word_log_probs: tuple[float, ...]
    log_prob: float
    score: float


_Pool = dict[tuple[int, ...], FoundCaption]


@dataclass
class _Beam:
    """K hypotheses for each of B images; an unused slot scores minus infinity."""

    tokens: Ints  # (B, K, T)
    word_log_probs: Floats  # (B, K, T)
    log_probs: npt.NDArray[np.float64]  # (B, K)
    steps: Ints  # (B, K), the end counted
    finished: npt.NDArray[np.bool_]  # (B, K)


def beam_search(
    start: tuple[Floats, Ints, Any], step: Step, config: SearchConfig, *, end_id: int, wanted: Wanted | None = None
) -> list[list[FoundCaption]]:
    """Finds the most probable captions of a batch of images.

    Finished hypotheses keep their score and compete with the unfinished ones for the K places; one that loses its place
    is remembered. Only unfinished hypotheses are stepped. The search of an image stops when no unfinished hypothesis
    can still become one of its K best, which does not change the result, or at `max_words` words, where unfinished
    hypotheses are taken as they are. Beam size 1 is greedy search.

    Args:
        start: Log-probabilities (B, M) and ids (B, M) of the best first words, falling, and the state of B rows.
        step: Scores the next words.
        config: Beam size K, most words, length penalty, what may not be repeated.
        end_id: Id of the end token.
        wanted: Called between two words; returns for each image whether its captions are still waited for. None if all
            are wanted.

    Returns:
        For each image up to K captions, best first; none for an image that was no longer wanted.

    Source:
        Vinyals et al. 2015, sec. 3.1 (arXiv:1411.4555); length penalty as plain division by length to a power, the
        simplest form discussed by Wu et al. 2016, sec. 7 (arXiv:1609.08144).
    """
    log_probs, ids, state = start
    images = len(ids)
    beam_size = config.beam_size
    beam = _first_beam(log_probs, ids, config, end_id)
    pool: list[_Pool] = [{} for _ in range(images)]
    _collect(pool, beam, beam.finished, config, end_id)
    parents = np.repeat(np.arange(images, dtype=np.int32), beam_size)  # (B * K,)
    abandoned = np.zeros(images, np.bool_)
    for position in range(1, config.max_words):
        if wanted is not None:
            abandoned |= ~np.asarray(wanted(), np.bool_)
        _drop(beam, abandoned | _decided(beam, pool, config))
        rows = np.flatnonzero(~beam.finished)  # (N,), positions in (B * K,)
        if not len(rows):
            break
        said = beam.tokens.reshape(-1, config.max_words)[rows, :position]  # (N, position)
        log_probs, ids, state = step(said[:, -1], parents[rows], state)
        if config.no_repeat_ngram:
            log_probs = _without_repeats(log_probs, ids, said, config.no_repeat_ngram)
        chosen = _extend(beam, *_spread(beam, rows, log_probs, ids), position, config.length_penalty, end_id)
        _collect(pool, beam, beam.finished & (beam.steps == position + 1), config, end_id)
        row_of = np.zeros(images * beam_size, np.int32)
        row_of[rows] = np.arange(len(rows))
        parents = row_of[(chosen + np.arange(images)[:, None] * beam_size).reshape(-1)]  # (B * K,)
    _drop(beam, abandoned)
    _collect(pool, beam, ~beam.finished, config, end_id)
    return [[] if gone else _ranked(found, beam_size) for found, gone in zip(pool, abandoned, strict=True)]


def _first_beam(log_probs: Floats, ids: Ints, config: SearchConfig, end_id: int) -> _Beam:
    images = len(ids)
    size = config.beam_size
    count = min(size, ids.shape[1])
    shape = (images, size)
    beam = _Beam(
        tokens=np.full((*shape, config.max_words), end_id, np.int32),
        word_log_probs=np.zeros((*shape, config.max_words), np.float32),
        log_probs=np.full(shape, -np.inf),
        steps=np.ones(shape, np.int32),
        finished=np.ones(shape, np.bool_),
    )
    beam.tokens[:, :count, 0] = ids[:, :count]
    beam.word_log_probs[:, :count, 0] = log_probs[:, :count]
    beam.log_probs[:, :count] = log_probs[:, :count]
    beam.finished[:, :count] = (ids[:, :count] == end_id) | ~np.isfinite(log_probs[:, :count])
    return beam


def _extend(beam: _Beam, log_probs: Floats, ids: Ints, position: int, penalty: float, end_id: int) -> Ints:
    """Replaces the beam by its K best continuations; returns which slot each one continues, shape (B, K)."""
    images, size, width = ids.shape
    # A finished hypothesis has one continuation: itself, at no cost.
    itself = np.where(np.arange(width) == 0, 0.0, -np.inf)  # (M,)
    added = np.where(beam.finished[:, :, None], itself, log_probs)  # (B, K, M)
    totals = beam.log_probs[:, :, None] + added  # (B, K, M)
    steps = beam.steps + ~beam.finished  # (B, K)
    scores = totals / steps[:, :, None] ** penalty
    order = np.argsort(-scores.reshape(images, -1), axis=1, kind="stable")[:, :size]  # (B, K)
    slots: Ints = (order // width).astype(np.int32)
    row = np.arange(images)[:, None]
    was_finished = beam.finished[row, slots]
    words = np.where(was_finished, end_id, ids.reshape(images, -1)[row, order])
    beam.tokens = beam.tokens[row, slots]
    beam.word_log_probs = beam.word_log_probs[row, slots]
    beam.tokens[:, :, position] = words
    beam.word_log_probs[:, :, position] = added.reshape(images, -1)[row, order]
    beam.log_probs = totals.reshape(images, -1)[row, order]
    beam.steps = steps[row, slots]
    beam.finished = was_finished | (words == end_id) | ~np.isfinite(beam.log_probs)
    return slots


def _spread(beam: _Beam, rows: npt.NDArray[np.intp], log_probs: Floats, ids: Ints) -> tuple[Floats, Ints]:
    """Moves the scores of `rows` (N, M) to their hypotheses' places (B, K, M); the other places have no words."""
    shape = (beam.finished.size, ids.shape[1])
    every = np.full(shape, -np.inf, np.float32)
    every_id = np.zeros(shape, np.int32)
    every[rows] = log_probs
    every_id[rows] = ids
    return every.reshape(*beam.finished.shape, -1), every_id.reshape(*beam.finished.shape, -1)


def _without_repeats(log_probs: Floats, ids: Ints, said: Ints, length: int) -> Floats:
    """Makes words impossible that would complete an n-gram of that length which their hypothesis has already.

    Args:
        log_probs: Log-probabilities of the next words. Shape (N, M).
        ids: Their ids. Shape (N, M).
        said: The words of each hypothesis. Shape (N, T).
        length: Words of an n-gram.

    Returns:
        The log-probabilities. Those of a hypothesis that no word would be left for stay as they are. Shape (N, M).
    """
    if said.shape[1] < length:
        return log_probs
    grams = np.lib.stride_tricks.sliding_window_view(said, length, axis=1)  # (N, G, n)
    begun = said[:, None, said.shape[1] - length + 1 :]  # (N, 1, n - 1)
    begins_so = (grams[:, :, :-1] == begun).all(axis=2)  # (N, G)
    repeats = ((ids[:, :, None] == grams[:, None, :, -1]) & begins_so[:, None]).any(axis=2)  # (N, M)
    repeats &= (~repeats & np.isfinite(log_probs)).any(axis=1, keepdims=True)
    return np.where(repeats, np.float32(-np.inf), log_probs)


def _drop(beam: _Beam, images: npt.NDArray[np.bool_]) -> None:
    """Drops the unfinished hypotheses of the chosen images (B,)."""
    lost = images[:, None] & ~beam.finished
    beam.log_probs[lost] = -np.inf
    beam.finished[lost] = True


def _decided(beam: _Beam, pool: list[_Pool], config: SearchConfig) -> npt.NDArray[np.bool_]:
    """Returns for each image (B,) whether K captions are found that no unfinished hypothesis can beat.

    A log-probability never rises, so an unfinished hypothesis scores at most its present one, divided by the penalty of
    the most words.
    """
    size = config.beam_size
    bounds = np.where(beam.finished, -np.inf, beam.log_probs).max(axis=1) / config.max_words**config.length_penalty
    worst = [sorted(c.score for c in found.values())[-size] if len(found) >= size else -np.inf for found in pool]
    return np.asarray(worst >= bounds)


def _collect(
    pool: list[_Pool], beam: _Beam, chosen: npt.NDArray[np.bool_], config: SearchConfig,
    end_id: int,
) -> None:  # fmt: skip
    """Adds the captions of the chosen slots (B, K) to their image's pool, by their tokens with the end."""
    for image, slot in np.argwhere(chosen & np.isfinite(beam.log_probs)):
        steps = int(beam.steps[image, slot])
        log_prob = float(beam.log_probs[image, slot])
        tokens = tuple(beam.tokens[image, slot, :steps].tolist())
        words = tokens[:-1] if tokens[-1] == end_id else tokens
        logs = tuple(beam.word_log_probs[image, slot, : len(words)].tolist())
        pool[image][tokens] = FoundCaption(words, logs, log_prob, log_prob / steps**config.length_penalty)


def _ranked(captions: _Pool, count: int) -> list[FoundCaption]:
    return sorted(captions.values(), key=lambda caption: -caption.score)[:count]
