"""Greedy and beam search over an injected step function. NumPy only: knows no layer and no engine."""

import time
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from model.config import SearchConfig
from model.errors import DeadlineExceededError

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]


class Step(Protocol):
    """Scores the next word of every hypothesis."""

    def __call__(self, tokens: Ints, parents: Ints, state: Any, /) -> tuple[Floats, Ints, Any]:
        """Advances hypotheses.

        Args:
            tokens: Last word of each hypothesis. Shape (N,), int32.
            parents: Row of `state` that each hypothesis continues. Shape (N,), int32.
            state: What the last call returned; opaque to the search.

        Returns:
            log_probs: Log-probabilities of the best next words, falling. Shape (N, M), M at least min(K, V).
            ids: Their ids. Shape (N, M), int32.
            state: State after `tokens`, N rows.
        """


@dataclass(frozen=True, slots=True)
class Found:
    """Holds one caption that the search found.

    Attributes:
        tokens: Word ids without the end id.
        word_log_probs: Natural log-probability of each word given those before it.
        log_prob: Natural log-probability of the whole, the end included where the caption ended by itself.
        score: What captions are ranked by: `log_prob / steps ** length_penalty`.
    """

    tokens: tuple[int, ...]
    word_log_probs: tuple[float, ...]
    log_prob: float
    score: float


@dataclass
class _Beam:
    """Holds K hypotheses for each of B images; a slot that is not in use scores minus infinity."""

    tokens: Ints  # (B, K, T)
    word_log_probs: Floats  # (B, K, T)
    log_probs: npt.NDArray[np.float64]  # (B, K)
    steps: Ints  # (B, K), the end counted
    finished: npt.NDArray[np.bool_]  # (B, K)


def beam_search(
    start: tuple[Floats, Ints, Any], step: Step, config: SearchConfig, *, end_id: int, deadline: float | None = None
) -> list[list[Found]]:
    """Finds the most probable captions of a batch of images.

    Finished hypotheses keep their score and compete with the unfinished ones for the K places; one that loses its place
    is remembered. The search stops when every place is finished or captions have `max_words` words, at which
    unfinished ones are taken as they are. Beam size 1 is greedy search.

    Args:
        start: Log-probabilities (B, M) and ids (B, M) of the best first words, falling, and the state of B rows.
        step: Scores the next words.
        config: Beam size K, most words, length penalty.
        end_id: Id of the end token.
        deadline: Value of `time.monotonic()` after which to give up; None for no limit.

    Returns:
        For each image up to K captions, best first.

    Raises:
        DeadlineExceededError: The deadline passed between two words.

    Source:
        Vinyals et al. 2015, sec. 3.1 (arXiv:1411.4555); length penalty as plain division by length to a power, the
        simplest form discussed by Wu et al. 2016, sec. 7 (arXiv:1609.08144).
    """
    log_probs, ids, state = start
    images, beam_size = len(ids), config.beam_size
    beam = _first_beam(log_probs, ids, config, end_id)
    pool = [_finished(beam, image, config.length_penalty, end_id) for image in range(images)]
    parents = np.repeat(np.arange(images, dtype=np.int32), beam_size)  # (N,)
    for position in range(1, config.max_words):
        if beam.finished.all():
            break
        if deadline is not None and time.monotonic() > deadline:
            raise DeadlineExceededError(
                f"expected captions before the deadline, had {position} words; ask for a smaller beam"
            )
        last = np.where(beam.finished, end_id, beam.tokens[:, :, position - 1]).reshape(-1).astype(np.int32)  # (N,)
        log_probs, ids, state = step(last, parents, state)
        shape = (images, beam_size, -1)
        chosen = _extend(beam, log_probs.reshape(shape), ids.reshape(shape), position, config.length_penalty, end_id)
        for image in range(images):
            pool[image] |= _finished(beam, image, config.length_penalty, end_id)
        parents = (chosen + np.arange(images)[:, None] * beam_size).reshape(-1).astype(np.int32)  # (N,)
    every = np.isfinite(beam.log_probs)
    return [
        _ranked(captions | _captions(beam, image, every[image], config.length_penalty, end_id), beam_size)
        for image, captions in enumerate(pool)
    ]


def _first_beam(log_probs: Floats, ids: Ints, config: SearchConfig, end_id: int) -> _Beam:
    images, size = len(ids), config.beam_size
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
    beam.tokens, beam.word_log_probs = beam.tokens[row, slots], beam.word_log_probs[row, slots]
    beam.tokens[:, :, position] = words
    beam.word_log_probs[:, :, position] = added.reshape(images, -1)[row, order]
    beam.log_probs, beam.steps = totals.reshape(images, -1)[row, order], steps[row, slots]
    beam.finished = was_finished | (words == end_id) | ~np.isfinite(beam.log_probs)
    return slots


def _finished(beam: _Beam, image: int, penalty: float, end_id: int) -> dict[tuple[int, ...], Found]:
    return _captions(beam, image, beam.finished[image] & np.isfinite(beam.log_probs[image]), penalty, end_id)


def _captions(
    beam: _Beam, image: int, chosen: npt.NDArray[np.bool_], penalty: float, end_id: int
) -> dict[tuple[int, ...], Found]:
    """Returns the captions of the chosen slots (K,) by their tokens, the end included."""
    captions = {}
    for slot in np.flatnonzero(chosen):
        steps, log_prob = int(beam.steps[image, slot]), float(beam.log_probs[image, slot])
        tokens = tuple(int(token) for token in beam.tokens[image, slot, :steps])
        words = tokens[:-1] if tokens[-1] == end_id else tokens
        logs = tuple(float(value) for value in beam.word_log_probs[image, slot, : len(words)])
        captions[tokens] = Found(words, logs, log_prob, log_prob / steps**penalty)
    return captions


def _ranked(captions: dict[tuple[int, ...], Found], count: int) -> list[Found]:
    return sorted(captions.values(), key=lambda caption: -caption.score)[:count]
