"""Replicas: copies of one captioner that caption at once, each with its part of the cores; their number and loading.

One copy with two threads does the same arithmetic as two copies with one. Two copies wait less: the threads of one
wait for each other after every layer, and what Python does between two words keeps but one core busy.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model.captioner import Prediction
from model.config import IMAGE_PIXELS
from model.errors import BundleError, ConfigError
from model.options import Search
from server.batching import Predictor

AUTO = "auto"
"""Value of the setting `replicas` that leaves their number to `measured`."""

MEASURED_SECONDS = 1.0
"""Time that measuring takes in all, besides loading and the first photos."""

WORTH = 1.3
"""More replicas are taken if they caption so many times as many photos.

They cost memory and delay a lone photo; and behind the server, for whose Python they wait, they gain less than here.
"""

Load = Callable[[int | None], Predictor]
"""Loads a captioner with a number of threads; None for one on each core."""

_REPLICATED = "litert"
"""The engine of which a process can have several, each with threads of its own."""

_QUICK_SECONDS = 0.05
"""Time of a photo below which several are captioned at once while measuring."""
_WAITING = 8
"""Photos that the replicas share while measuring, as under load: one replica has all at once, which saves it work."""

_CAPTIONS = 3
_CLASSES = 5

_logger = logging.getLogger("server")


class Plan(NamedTuple):
    """Replicas, and how many threads each has."""

    replicas: int
    threads: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What a plan did.

    Attributes:
        images_per_second: With all replicas at work, over and over.
        alone_seconds: Time of one photo with nothing beside it.
    """

    images_per_second: float
    alone_seconds: float


def plans(cores: int) -> list[Plan]:
    """Returns the plans that `measured` compares: threads halved again and again, and replicas for all cores."""
    found = []
    threads = cores
    while threads:
        found.append(Plan(cores // threads, threads))
        threads //= 2
    return found


def loaded(load: Load, wanted: str, cores: int, alone_limit_seconds: float) -> list[Predictor]:
    """Loads as many replicas as are wanted.

    Args:
        load: Called once for each.
        wanted: Value of the setting `replicas`.
        cores: Number of cores to share.
        alone_limit_seconds: As in `measured`.

    Returns:
        Replicas, at least one, which have captioned a built-in picture.

    Raises:
        BundleError: One found no caption, or a probability outside [0, 1].
        ConfigError: More than one is wanted of an engine that cannot have two in one process.
    """
    if wanted == AUTO:
        return measured(load, plans(cores), alone_limit_seconds)
    plan = Plan(int(wanted), max(1, cores // int(wanted)))
    first = self_tested(load(_threads_of(plan)))
    check_replicas(first.engine, wanted)
    return [first, *_more(load, plan)]


def check_replicas(engine: str, wanted: str) -> None:
    """Makes sure that an engine can have as many replicas as are wanted.

    Raises:
        ConfigError: The engine takes all cores, or the GPU, by itself.
    """
    if engine != _REPLICATED and wanted not in (AUTO, "1"):
        raise ConfigError(f"replicas: expected 1 or {AUTO} with the engine {engine}, received {wanted}")


def measured(load: Load, candidates: Sequence[Plan], alone_limit_seconds: float) -> list[Predictor]:
    """Loads the replicas of one plan after the other, measures each, and returns those of the best.

    It stops at the first plan that is no better than the one before it, so that a machine with many cores neither loads
    nor measures what cannot win.

    Args:
        load: Called once for each replica.
        candidates: Plans, the fewest replicas first.
        alone_limit_seconds: Longest time of a photo alone. The first plan may take longer: no other is faster.

    Returns:
        The replicas that were chosen.

    Raises:
        BundleError: One found no caption, or a probability outside [0, 1].
    """
    best: list[Predictor] = []
    fastest: Measured | None = None
    told = []
    for plan in candidates:
        replicas = [self_tested(load(_threads_of(plan)))]
        if replicas[0].engine != _REPLICATED:
            return replicas
        replicas += _more(load, plan)
        found = _measure(replicas, MEASURED_SECONDS / len(candidates))
        told.append(f"{plan.replicas} x {plan.threads} threads {found.images_per_second:.1f} images/s")
        if fastest is not None and not is_better(found, fastest, alone_limit_seconds):
            break
        best = replicas
        fastest = found
    _logger.info("replicas: %s; %d serve", ", ".join(told), len(best))
    return best


def is_better(found: Measured, fewer: Measured, alone_limit_seconds: float) -> bool:
    """Returns whether more replicas are worth their memory, and do not keep a lone photo too long."""
    is_faster = found.images_per_second >= WORTH * fewer.images_per_second
    return is_faster and found.alone_seconds <= alone_limit_seconds


def self_tested(captioner: Predictor) -> Predictor:
    """Returns a captioner after it has captioned a built-in picture.

    Raises:
        BundleError: It found no caption, or a probability outside [0, 1].
    """
    (prediction,) = _predict(captioner, 1)
    numbers = [word.probability for caption in prediction.captions for word in caption.words]
    numbers += [found.probability for found in prediction.classes]
    if not numbers or not prediction.captions[0].text or not all(0 <= number <= 1 for number in numbers):
        raise BundleError(
            f"{captioner.config.name}: expected a caption of the built-in picture with probabilities, received "
            f"{prediction.captions}; train or export it again"
        )
    return captioner


def _threads_of(plan: Plan) -> int | None:
    return None if plan.replicas == 1 else plan.threads


def _more(load: Load, plan: Plan) -> list[Predictor]:
    """Loads the replicas of a plan behind the first one."""
    return [load(plan.threads) for _ in range(plan.replicas - 1)]


def _measure(replicas: Sequence[Predictor], seconds: float) -> Measured:
    started = time.perf_counter()
    _predict(replicas[0], 1)
    alone = time.perf_counter() - started
    together = max(1, _WAITING // len(replicas)) if alone < _QUICK_SECONDS else 1
    with ThreadPoolExecutor(len(replicas)) as threads:
        rates = list(threads.map(lambda one: _rate(one, together, seconds), replicas))
    return Measured(sum(rates), alone)


def _rate(captioner: Predictor, together: int, seconds: float) -> float:
    """Captions for some seconds; returns photos per second."""
    # The first round of a size takes memory, and is slower.
    _predict(captioner, together)
    started = time.perf_counter()
    rounds = 0
    while rounds == 0 or time.perf_counter() < started + seconds:
        _predict(captioner, together)
        rounds += 1
    return rounds * together / (time.perf_counter() - started)


def _predict(captioner: Predictor, count: int) -> list[Prediction]:
    """Captions a built-in picture, so many times at once."""
    side = np.linspace(0, 255, IMAGE_PIXELS).astype(np.uint8)
    picture = np.stack(np.broadcast_arrays(side[:, None], side[None, :], np.uint8(128)), axis=-1)
    search = Search.of(captioner.config.search)
    return captioner.predict(
        np.stack([picture] * count),
        search=search,
        captions=min(_CAPTIONS, search.hypotheses),
        classes=_CLASSES,
        wanted=lambda: [True] * count,
        explain=False,
    )
