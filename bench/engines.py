"""Measures every engine on one image after the other: milliseconds, MiB, and seconds to the first answer.

Every engine is driven by `model.search.beam_search` in a process of its own, with all cores, and is checked against
the TensorFlow engine before it counts.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench import process
from bench.artifacts import RECORD, prepared
from bench.contenders import CONTENDERS, OURS, REFERENCE, Contender, load_engine
from bench.parity import check, read_record
from bench.photos import photo
from bench.report import Row, compared_in_rounds, median_row, middle, ratio_text, skipped_row
from bench.sizes import COMPARED, Size
from model.config import IMAGE_PIXELS, SearchConfig
from model.engines.protocol import Engine
from model.image import read_image
from model.search import beam_search

PART = "engines"
WARM_UP = 5
RUNS = 25
ROUNDS = 3
"""How often every engine is measured; they take turns."""

WORDS = 12
NEVER = -1
"""An end id that no word has, so that every caption has all its words, whatever the weights."""

STAGES = ("encode", "search", "total")

Measured = dict[str, Any]


def measure(sizes: Sequence[Size] = COMPARED) -> list[Row]:
    """Measures every engine at some of the sizes."""
    return [row for size in sizes if size in COMPARED for row in _size_rows(size)]


def measured(contender: Contender, size: Size) -> Measured:
    """Measures one engine in a process of its own, after making what it needs.

    Returns:
        Seconds of each run by stage, `ready` in seconds, `memory` in MiB, `differences` from the reference.
    """
    folder = prepared(contender.loaded_from, size)
    reference = prepared("reference", size)
    return cast(Measured, process.run_timed("bench.engines", contender.key, folder, reference / RECORD))


def _size_rows(size: Size) -> list[Row]:
    present = [contender for contender in CONTENDERS if contender.missing() is None]
    rounds = [{contender: measured(contender, size) for contender in present} for _ in range(ROUNDS)]
    reads = [median_row(PART, f"{size}: read", found[REFERENCE]["read"]) for found in rounds]
    rows = [replace(middle(reads), remark="500x375 JPEG; the same for every engine")]
    for stage in STAGES:
        rows += against_each_other(partial(_stage_row, size, stage), rounds)
    rows += against_each_other(partial(_ready_row, size), rounds)
    rows += against_each_other(partial(_memory_row, size), rounds)
    absent = [(contender, contender.missing()) for contender in CONTENDERS]
    return rows + [skipped_row(PART, f"{size}: {c.what}", why) for c, why in absent if why is not None]


def against_each_other(
    make: Callable[[Contender, Measured], Row], rounds: Sequence[Mapping[Contender, Measured]]
) -> list[Row]:
    """Makes a row for each contender, with its ratio to the reference, and ours with its ratio to every peer."""
    seen = {contender: [make(contender, found[contender]) for found in rounds] for contender in rounds[0]}
    rows = [middle(seen[c]) if c is REFERENCE else compared_in_rounds(seen[c], seen[REFERENCE]) for c in seen]
    peers = [contender for contender in seen if contender not in (OURS, REFERENCE)]
    told = [replace(compared_in_rounds(seen[OURS], seen[peer]), against=peer.what) for peer in peers]
    ours = list(seen).index(OURS)
    rows[ours] = replace(rows[ours], remark=", ".join(ratio_text(row) for row in told))
    return rows


def _stage_row(size: Size, stage: str, contender: Contender, result: Measured) -> Row:
    row = median_row(PART, f"{size}: {stage}, {contender.what}", result[stage])
    if stage != "total":
        return row
    return replace(
        row,
        remark=contender.remark,
        figures={f"{name} apart": float(f"{v:.2g}") for name, v in result["differences"].items()},
    )


def _ready_row(size: Size, contender: Contender, result: Measured) -> Row:
    return median_row(PART, f"{size}: start to first answer, {contender.what}", [result["ready"]])


def _memory_row(size: Size, contender: Contender, result: Measured) -> Row:
    return Row(PART, f"{size}: peak memory, {contender.what}", result["memory"], 1, "MiB")


def _run_contender(key: str, folder: Path, record: str, started: float) -> Measured:
    engine = load_engine(key, folder)
    _search(engine, engine.encode(np.zeros((1, IMAGE_PIXELS, IMAGE_PIXELS, 3), np.uint8)).features)
    ready = time.monotonic() - started
    result = time_engine(engine, WARM_UP, RUNS)
    memory = process.memory_mib()["peak"]
    tolerance = next(contender.tolerance for contender in CONTENDERS if contender.key == key)
    differences = check(engine, read_record(Path(record)), tolerance)
    return {**result, "ready": ready, "memory": memory, "differences": differences}


def time_engine(engine: Engine, warm_up: int, runs: int) -> dict[str, list[float]]:
    """Returns the seconds of `read`, `encode`, `search` and `total` of every run after the first ones.

    Raises:
        ValueError: A caption has another number of words than the others.
    """
    data = photo(1)
    times: dict[str, list[float]] = {stage: [] for stage in ("read", *STAGES)}
    for run in range(warm_up + runs):
        marks = [time.perf_counter()]
        images = read_image(data).pixels[None]
        marks.append(time.perf_counter())
        encoded = engine.encode(images)
        marks.append(time.perf_counter())
        _search(engine, encoded.features)
        marks.append(time.perf_counter())
        if run >= warm_up:
            for stage, begin, end in (("read", 0, 1), ("encode", 1, 2), ("search", 2, 3), ("total", 0, 3)):
                times[stage].append(marks[end] - marks[begin])
    return times


def _search(engine: Engine, features: Any) -> None:
    search = SearchConfig(beam_size=3, max_words=WORDS)
    found = beam_search(engine.start(features), engine.step, search, end_id=NEVER)
    lengths = {len(caption.tokens) for captions in found for caption in captions}
    if lengths != {WORDS}:
        raise ValueError(f"{engine.name}: expected captions of {WORDS} words, received {lengths}; they do not compare")


if __name__ == "__main__":
    _, _key, _folder, _record, _started = sys.argv
    process.answer_json(_run_contender(_key, Path(_folder), _record, float(_started)))
