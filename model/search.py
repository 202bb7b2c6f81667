"""Greedy and beam search over an injected step function. NumPy only: knows no layer and no engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from model.config import SearchConfig
from model.continuing import allowed, continuations
from model.options import Search

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
    """S hypotheses for each of B images, those of a group together; an unused slot scores minus infinity."""

    tokens: Ints  # (B, S, T)
    word_log_probs: Floats  # (B, S, T)
    log_probs: npt.NDArray[np.float64]  # (B, S)
    steps: Ints  # (B, S), the end counted
    finished: npt.NDArray[np.bool_]  # (B, S)


def beam_search(
    start: tuple[Floats, Ints, Any], step: Step, config: SearchConfig, *, end_id: int, wanted: Wanted | None = None
) -> list[list[FoundCaption]]:
    """Finds the most probable captions of a batch of images, or draws some.

    Finished hypotheses keep their score and compete with the unfinished ones for the K places of their group; one that
    loses its place is remembered. Only unfinished hypotheses are stepped. The search of a group stops when no
    unfinished hypothesis can still become one of its K best, which does not change its result, or at `max_words`
    words, where unfinished hypotheses are taken as they are. Beam size 1 is greedy search.

    Args:
        start: Log-probabilities (B, M) and ids (B, M) of the best first words, falling, and the state of B rows.
        step: Scores the next words.
        config: What is searched; a `Search` may have more groups than one, or draw.
        end_id: Id of the end token.
        wanted: Called between two words; returns for each image whether its captions are still waited for. None if all
            are wanted.

    Returns:
        For each image up to K captions of each group, no two alike: the best of each group, best first, then the
        second best of each, and so on. None for an image that was no longer wanted.

    Source:
        Vinyals et al. 2015, sec. 3.1 (arXiv:1411.4555); length penalty as plain division by length to a power, the
        simplest form discussed by Wu et al. 2016, sec. 7 (arXiv:1609.08144). Groups and draws: `model.continuing`.
    """
    search = Search.of(config)
    first_log_probs, first_ids, state = start
    images = len(first_ids)
    log_probs = np.repeat(first_log_probs, search.groups, axis=0)  # each group begins alike
    ids = np.repeat(first_ids, search.groups, axis=0)
    source = np.repeat(np.arange(images, dtype=np.int32), search.groups)  # row of the state behind each row
    beam = _empty_beam(images, search, end_id)
    pools: list[_Pool] = [{} for _ in range(images * search.groups)]
    abandoned = np.zeros(images, np.bool_)
    parents = source
    for position in range(search.max_words):
        if position and wanted is not None:
            abandoned |= ~np.asarray(wanted(), np.bool_)
            _drop(beam, abandoned[:, None])
        if any(len(found) >= search.beam_size for found in pools):
            _drop(beam, _decided(beam, pools, search))
        rows = np.flatnonzero(~beam.finished)  # (N,), positions in (B * S,)
        if not len(rows):
            break
        said = beam.tokens.reshape(-1, search.max_words)[rows, :position]  # (N, position)
        if position:
            log_probs, ids, state = step(said[:, -1], parents[rows], state)
            source = np.arange(len(rows), dtype=np.int32)
        spread = _spread(beam, rows, allowed(log_probs, ids, said, search, end_id), ids, end_id)
        continued = _extend(beam, *spread, position, search, end_id)
        _collect(pools, beam, beam.finished & (beam.steps == position + 1), search, end_id)
        row_of = np.zeros(beam.finished.size, np.int32)
        row_of[rows] = source
        parents = row_of[continued].reshape(-1)  # (B * S,)
    _drop(beam, abandoned[:, None])
    _collect(pools, beam, ~beam.finished, search, end_id)
    groups = [pools[first : first + search.groups] for first in range(0, len(pools), search.groups)]
    return [[] if gone else _ranked(found, search.beam_size) for found, gone in zip(groups, abandoned, strict=True)]


def _empty_beam(images: int, search: Search, end_id: int) -> _Beam:
    """Returns a beam in which the first hypothesis of each group has said nothing yet, and the others are unused."""
    shape = (images, search.hypotheses)
    unused = np.broadcast_to(np.arange(search.hypotheses) % search.beam_size > 0, shape)
    return _Beam(
        tokens=np.full((*shape, search.max_words), end_id, np.int32),
        word_log_probs=np.zeros((*shape, search.max_words), np.float32),
        log_probs=np.where(unused, -np.inf, 0.0),
        steps=unused.astype(np.int32),
        finished=unused.copy(),
    )


def _extend(
    beam: _Beam, log_probs: Floats, ids: Ints, position: int, search: Search, end_id: int
) -> npt.NDArray[np.intp]:
    """Replaces the beam by its best continuations; returns which row of (B * S,) each one continues, shape (B, S)."""
    _, slots, width = ids.shape
    totals = beam.log_probs[:, :, None] + log_probs  # (B, S, M)
    steps = beam.steps + ~beam.finished  # (B, S)
    order = continuations(totals, steps, np.where(ids == end_id, -1, ids), position, search)  # (B, S)
    places = order + np.arange(0, ids.size, slots * width)[:, None]  # in (B * S * M,)
    rows: npt.NDArray[np.intp] = places // width  # in (B * S,)
    words = ids.take(places)
    beam.tokens = beam.tokens.reshape(-1, search.max_words).take(rows, axis=0)
    beam.word_log_probs = beam.word_log_probs.reshape(-1, search.max_words).take(rows, axis=0)
    beam.tokens[:, :, position] = words
    beam.word_log_probs[:, :, position] = log_probs.take(places)
    beam.log_probs = totals.take(places)
    beam.steps = steps.take(rows)
    beam.finished = (words == end_id) | ~np.isfinite(beam.log_probs)
    return rows


def _spread(beam: _Beam, rows: npt.NDArray[np.intp], log_probs: Floats, ids: Ints, end_id: int) -> tuple[Floats, Ints]:
    """Moves the scores of `rows` (N, M) to their hypotheses' places (B, S, M).

    A finished hypothesis has one continuation: itself, at no cost. It says the end once more.
    """
    shape = (beam.finished.size, ids.shape[1])
    every = np.full(shape, -np.inf, np.float32)
    every[:, 0] = 0.0
    every_id = np.full(shape, end_id, np.int32)
    every[rows] = log_probs
    every_id[rows] = ids
    return every.reshape(*beam.finished.shape, -1), every_id.reshape(*beam.finished.shape, -1)


def _drop(beam: _Beam, chosen: npt.NDArray[np.bool_]) -> None:
    """Drops the unfinished hypotheses of the chosen slots, (B, S) or (B, 1)."""
    lost = chosen & ~beam.finished
    beam.log_probs[lost] = -np.inf
    beam.finished[lost] = True


def _decided(beam: _Beam, pools: list[_Pool], search: Search) -> npt.NDArray[np.bool_]:
    """Returns for each slot (B, S) whether its group has K captions that no unfinished hypothesis can beat.

    A log-probability never rises, so an unfinished hypothesis scores at most its present one, divided by the penalty of
    the most words.
    """
    size = search.beam_size
    open_ones = np.where(beam.finished, -np.inf, beam.log_probs).reshape(-1, size)  # (B * G, K)
    bounds = open_ones.max(axis=1) / search.max_words**search.length_penalty
    worst = [sorted(c.score for c in found.values())[-size] if len(found) >= size else -np.inf for found in pools]
    return np.repeat(worst >= bounds, size).reshape(beam.finished.shape)


def _collect(
    pools: list[_Pool], beam: _Beam, chosen: npt.NDArray[np.bool_], search: Search,
    end_id: int,
) -> None:  # fmt: skip
    """Adds the captions of the chosen slots (B, S) to their group's pool, by their tokens with the end."""
    if not chosen.any():
        return
    for image, slot in np.argwhere(chosen & np.isfinite(beam.log_probs)):
        steps = int(beam.steps[image, slot])
        log_prob = float(beam.log_probs[image, slot])
        tokens = tuple(beam.tokens[image, slot, :steps].tolist())
        words = tokens[:-1] if tokens[-1] == end_id else tokens
        logs = tuple(beam.word_log_probs[image, slot, : len(words)].tolist())
        pool = pools[image * search.groups + slot // search.beam_size]
        pool[tokens] = FoundCaption(words, logs, log_prob, log_prob / steps**search.length_penalty)


def _ranked(groups: Sequence[_Pool], count: int) -> list[FoundCaption]:
    """Returns the best captions of each group, in turns, no two alike."""
    best = [sorted(pool.values(), key=lambda caption: -caption.score)[:count] for pool in groups]
    ranked = [(rank, caption) for found in best for rank, caption in enumerate(found)]
    ranked.sort(key=lambda item: (item[0], -item[1].score))
    distinct: dict[tuple[int, ...], FoundCaption] = {}
    for _, caption in ranked:
        distinct.setdefault(caption.tokens, caption)
    return list(distinct.values())
