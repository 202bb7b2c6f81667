"""Captions photos in batches, while threads read and decode the next ones."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from model.library.photos import ReadPhoto

if TYPE_CHECKING:
    from model.captioner import Prediction

BATCH = 16
"""Photos that are captioned at once. The engines cut larger batches into parts anyway."""

AHEAD = 3
"""Batches that are read ahead: enough that a slow photo does not stop the engine, 7 MB of pixels."""

Predict = Callable[[npt.NDArray[np.uint8]], "list[Prediction]"]


class Captioned(NamedTuple):
    """A photo with what was predicted for it; None if it failed, or was not decoded."""

    photo: ReadPhoto
    prediction: "Prediction | None"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The way of photos from disk to captions. Memory stays flat, however many there are.

    Args:
        read: Reads one photo; called in threads.
        predict: Captions a batch, shape (B, 224, 224, 3); called in one thread, one batch at a time.
        threads: How many threads read and decode.
    """

    read: Callable[[str], ReadPhoto]
    predict: Predict
    threads: int

    def run(self, paths: Iterable[str]) -> Iterator[list[Captioned]]:
        """Yields all photos in the order of their paths, a batch at a time, while the next batch is captioned."""
        readers = ThreadPoolExecutor(self.threads, thread_name_prefix="read")
        engine = ThreadPoolExecutor(1, thread_name_prefix="caption")
        current: Future[list[Captioned]] | None = None
        try:
            for photos in self._batches(readers, paths):
                following = engine.submit(caption_batch, photos, self.predict)
                if current is not None:
                    yield current.result()
                current = following
            if current is not None:
                yield current.result()
        finally:
            for pool in (readers, engine):
                pool.shutdown(cancel_futures=True)

    def _batches(self, readers: ThreadPoolExecutor, paths: Iterable[str]) -> Iterator[list[ReadPhoto]]:
        reading: deque[Future[ReadPhoto]] = deque()
        for path in paths:
            reading.append(readers.submit(self.read, path))
            if len(reading) == AHEAD * BATCH:
                yield [reading.popleft().result() for _ in range(BATCH)]
        while reading:
            yield [reading.popleft().result() for _ in range(min(BATCH, len(reading)))]


def caption_batch(photos: Sequence[ReadPhoto], predict: Predict) -> list[Captioned]:
    """Captions the photos of a batch that have pixels; returns all, in their order."""
    images = [photo.pixels for photo in photos if photo.pixels is not None]
    predictions = iter(predict(np.stack(images)) if images else [])
    return [Captioned(photo, None if photo.pixels is None else next(predictions)) for photo in photos]
