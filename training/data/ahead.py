"""Computing the next value in a thread while the current one is used."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def ahead(function: Callable[[K], V], keys: Sequence[K]) -> Iterator[V]:
    """Yields function(key) for every key, computing the next one in a thread while the current one is used."""
    with ThreadPoolExecutor(1) as pool:
        upcoming: list[Future[V]] = []
        for key in keys:
            upcoming.append(pool.submit(function, key))
            if len(upcoming) > 1:
                yield upcoming.pop(0).result()
        yield from (future.result() for future in upcoming)
