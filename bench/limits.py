"""Measures the machine's limits: the rates of simple loops, and the times that follow from them.

An encoder cannot be faster than its multiplications at the best rate of its arithmetic, nor a word faster than its
weights come from memory, as far as they do not stay in the cache.
"""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace

from bench import process
from bench.arithmetic import decoder_step_bytes, encoder_multiply_adds, identity_convolutions, milliseconds_at
from bench.artifacts import prepared
from bench.contenders import OURS
from bench.engines import WORDS, measured
from bench.rates import RATES, measure_rate
from bench.report import Row, compared, median_row
from bench.sizes import COMPARED, Size
from model.bundle import load_bundle

PART = "limits"


def measure(sizes: Sequence[Size] = COMPARED) -> list[Row]:
    """Measures the machine's rates, each in a process of its own, and compares our int8 engine with them."""
    rates = {key: _rate_row(key) for key in RATES}
    rows = list(rates.values())
    int8, float32 = (_best(rows, kind) for kind in ("int8", "float32"))
    for size in (size for size in COMPARED if size in sizes):
        rows += _size_rows(size, int8, float32, rates["memory"])
    return rows


def _rate_row(key: str) -> Row:
    rate = RATES[key]
    seconds = process.run_json("bench.limits", key)
    value = round(rate.amount / statistics.median(seconds) / 1e9, 1)
    return Row(PART, rate.what, value, len(seconds), rate.unit)


def _best(rows: list[Row], arithmetic: str) -> Row:
    return max((row for row in rows if row.what.startswith(arithmetic)), key=lambda row: row.value or 0.0)


def _size_rows(size: Size, int8: Row, float32: Row, memory: Row) -> list[Row]:
    """Returns our times at a size, and how much of the machine they use."""
    bundle = load_bundle(prepared("bundle", size))
    config = bundle.config
    found = measured(OURS, size)
    encode = median_row(PART, f"{size}: encode, {OURS.what}", found["encode"])
    step = median_row(PART, f"{size}: one word, {OURS.what}", [seconds / WORDS for seconds in found["search"]])
    multiply_adds = encoder_multiply_adds(config.encoder, identity_convolutions(bundle.weights))
    weight_bytes = decoder_step_bytes(config)
    work = f"{multiply_adds / 1e9:.2f} G multiply-adds"
    told = f"{weight_bytes / 1e6:.1f} MB of int8 weights; what stays in the cache is faster"
    return [
        encode,
        compared(_limit_row(f"{size}: encode at the int8 limit", multiply_adds, int8, work), encode),
        compared(_limit_row(f"{size}: encode at the float32 limit", multiply_adds, float32, work), encode),
        replace(step, remark=f"search / {WORDS}, the search itself included"),
        compared(_limit_row(f"{size}: one word's weights from memory", weight_bytes, memory, told), step),
    ]


def _limit_row(what: str, amount: int, rate: Row, remark: str) -> Row:
    milliseconds = milliseconds_at(amount, rate.value or 0.0)
    return Row(PART, what, round(milliseconds, 3), rate.runs, remark=f"{remark}, at {rate.value} {rate.unit}")


if __name__ == "__main__":
    process.answer_json(measure_rate(sys.argv[1]))
