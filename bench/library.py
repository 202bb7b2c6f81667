"""Measures `showtell` on a folder: images/s one by one, batched and pipelined, of the captioner alone, and memory.

The captioner alone is fed in batches: by threads that decode the photos meanwhile, or from memory, where decoding takes
nothing.

The default bundle on a quarter of the photos, and the preset `small` with random weights, which leaves more to the
command's own work; JPEGs of 500x375, all cores. Each way in a process of its own, three times, in turn. Where Ray is
installed, the whole command is measured against `showtell-ray` too, with `small`.
"""

import json
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import process
from bench.artifacts import prepared
from bench.library_ray import measure_ray
from bench.photos import photo
from bench.report import Row, compared
from model.bundle import DEFAULT_BUNDLE
from model.captioner import Captioner
from model.engines.cores import usable_cores
from model.image import MAX_PIXELS, read_image
from model.library.command import Command
from model.library.pipeline import BATCH
from model.library.request import Request

PART = "library"
PHOTOS = 2000
LESS = 4
"""How many times fewer photos the default bundle gets, which takes longer for each."""

RUNS = 3
WARM_UP = 4 * BATCH
AHEAD = 2
"""Batches that are decoded or wait while one is captioned."""

LOOP = "one by one"
PIPELINE = "showtell --write jsonl"
FED = f"the captioner alone, batches of {BATCH} from decoding threads"
ENGINE = f"the captioner alone, batches of {BATCH} in memory"


def measure(photos: int = PHOTOS, runs: int = RUNS) -> list[Row]:
    """Measures all ways with both bundles, and the command on Ray.

    Args:
        photos: How many photos the folder for `small` has.
        runs: How often each way is measured.
    """
    small = prepared("bundle", "small")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        few = Path(name) / "few"
        for path, count in ((folder, photos), (few, -(-photos // LESS))):
            path.mkdir()
            for number in range(count):
                (path / f"{number:06}.jpg").write_bytes(photo(number))
        rows = [*_ways("default bundle", DEFAULT_BUNDLE, few, runs), *_ways("small", small, folder, runs)]
        return rows + measure_ray(PART, small, folder, runs)


def _ways(name: str, bundle: Path, folder: Path, runs: int) -> list[Row]:
    """Measures the ways with one bundle, in turn."""
    photos = len(list(folder.iterdir()))
    results = [{way: process.run_json("bench.library", way, bundle, folder) for way in WAYS} for _ in range(runs)]
    rows = {way: _row(f"{name}, {photos} photos: {way}", photos, [result[way] for result in results]) for way in WAYS}
    shares = {
        f"share of {what}": round((rows[PIPELINE].value or 0) / (rows[way].value or 1), 3)
        for what, way in (("the fed rate", FED), ("the rate in memory", ENGINE))
    }
    ours = replace(rows[PIPELINE], figures={**rows[PIPELINE].figures, **shares})
    return [rows[LOOP], compared(ours, rows[LOOP]), rows[FED], rows[ENGINE]]


def _row(what: str, photos: int, results: list[dict[str, float]]) -> Row:
    rate = round(statistics.median(photos / result["seconds"] for result in results), 1)
    memory = {
        f"MiB {when}": statistics.median(result[when] for result in results)
        for when in ("at half", "at the end") if when in results[0]
    }  # fmt: skip
    return Row(PART, what, rate, len(results), "images/s", figures=memory)


def _pixels(path: Path) -> np.ndarray:
    return read_image(path.read_bytes()).pixels


def _loop(captioner: Captioner, folder: Path) -> dict[str, float]:
    started = time.perf_counter()
    for path in sorted(folder.iterdir()):
        captioner.predict(_pixels(path)[None], classes=3)
    return {"seconds": time.perf_counter() - started}


def _pipeline(captioner: Captioner, folder: Path) -> dict[str, float]:
    memory: list[float] = []
    batches = -(-len(list(folder.iterdir())) // BATCH)

    def predict(images: np.ndarray) -> Any:
        if len(memory) in (batches // 2, batches - 1):
            memory.append(process.memory_mib()["now"])
        else:
            memory.append(0.0)
        return captioner.predict(images, classes=3)

    with tempfile.TemporaryDirectory() as out:
        table = Path(out) / "table.jsonl"
        request = Request(
            photos=(str(folder),), write=("jsonl",), out=table, threads=usable_cores(), max_pixels=MAX_PIXELS
        )
        started = time.perf_counter()
        command = Command(request, predict)
        command.write(command.list_photos(), {"captions": 1})
        seconds = time.perf_counter() - started
        rows = [json.loads(line) for line in table.read_text().splitlines()]
    if {row["error"] for row in rows} != {None}:
        raise ValueError("expected a caption for every photo, received failures; they do not compare")
    return {"seconds": seconds, "at half": memory[batches // 2], "at the end": memory[-1]}


def _fed(captioner: Captioner, folder: Path) -> dict[str, float]:
    """Decodes on a thread for each core, two batches ahead, and writes nothing."""
    groups = _groups(sorted(folder.iterdir()))
    started = time.perf_counter()
    with ThreadPoolExecutor(usable_cores()) as pool:
        ahead: deque[list[Future[np.ndarray]]] = deque()
        while True:
            while len(ahead) < AHEAD and (group := next(groups, None)):
                ahead.append([pool.submit(_pixels, path) for path in group])
            if not ahead:
                break
            captioner.predict(np.stack([future.result() for future in ahead.popleft()]), classes=3)
    return {"seconds": time.perf_counter() - started}


def _engine(captioner: Captioner, folder: Path) -> dict[str, float]:
    paths = sorted(folder.iterdir())
    seconds = 0.0
    for group in _groups(paths):
        images = np.stack([_pixels(path) for path in group])
        started = time.perf_counter()
        captioner.predict(images, classes=3)
        seconds += time.perf_counter() - started
    return {"seconds": seconds}


def _groups(paths: list[Path]) -> Iterator[list[Path]]:
    return (paths[begin : begin + BATCH] for begin in range(0, len(paths), BATCH))


WAYS: Mapping[str, Callable[[Captioner, Path], dict[str, float]]] = {
    LOOP: _loop, PIPELINE: _pipeline, FED: _fed, ENGINE: _engine,
}  # fmt: skip


def _run_way(way: str, bundle: Path, folder: Path) -> dict[str, float]:
    captioner = Captioner.load(bundle)
    predict = partial(captioner.predict, classes=3)
    predict(np.stack([read_image(photo(seed)).pixels for seed in range(WARM_UP)]))
    return WAYS[way](captioner, folder)


if __name__ == "__main__":
    _, _way, _bundle, _folder = sys.argv
    process.answer_json(_run_way(_way, Path(_bundle), Path(_folder)))
