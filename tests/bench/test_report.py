"""The report: ratios that say what is better, percentiles, and rows that could not be measured."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.machine import machine
from bench.report import (
    Row,
    compared,
    compared_in_rounds,
    median_row,
    middle,
    percentile,
    ratio,
    ratio_text,
    skipped_row,
    write_report,
)


def test_half_the_time_is_twice_as_good() -> None:
    row = compared(Row("p", "fast", 10.0, 20), Row("p", "slow", 20.0, 20))

    assert (row.ratio, row.against) == (2.0, "slow")


def test_twice_the_rate_is_twice_as_good() -> None:
    assert ratio(Row("p", "a", 20.0, 1, "images/s"), Row("p", "b", 10.0, 1, "images/s")) == 2.0


def test_the_middle_of_a_few_rounds_is_the_median() -> None:
    rows = [Row("p", "a", value, 1) for value in (3.0, 1.0, 2.0)]

    assert middle(rows) == rows[2]


def test_rounds_are_compared_each_with_itself() -> None:
    ours = [Row("p", "ours", value, 25) for value in (10.0, 20.0, 11.0)]
    peer = [Row("p", "peer", value, 25) for value in (20.0, 41.0, 21.0)]  # the second round was slow for both

    row = compared_in_rounds(ours, peer)

    assert (row.value, row.ratio, row.spread, row.against) == (11.0, 2.0, (1.909, 2.05), "peer")
    assert ratio_text(row) == "2.00x (1.91 to 2.05) of peer"


def test_rounds_without_values_have_no_ratio() -> None:
    row = compared_in_rounds([Row("p", "ours", 10.0, 1)], [skipped_row("p", "peer", "absent")])

    assert (row.ratio, row.spread, ratio_text(row)) == (None, None, "")


def test_rows_in_different_units_do_not_compare() -> None:
    with pytest.raises(ValueError, match="one unit"):
        ratio(Row("p", "a", 20.0, 1, "images/s"), Row("p", "b", 10.0, 1))


def test_what_was_skipped_has_no_ratio() -> None:
    skipped = skipped_row("p", "peer", "torch is not installed")

    assert ratio(skipped, Row("p", "b", 10.0, 1)) is None
    assert compared(skipped, Row("p", "b", 10.0, 1)) == skipped


def test_a_row_of_another_unit_is_not_taken_for_milliseconds() -> None:
    with pytest.raises(ValueError, match="expected a value in ms"):
        _ = Row("p", "memory", 10.0, 1, "MiB").milliseconds


def test_a_row_holds_the_median_in_milliseconds() -> None:
    row = median_row("p", "what", [0.001, 0.002, 0.9])

    assert (row.milliseconds, row.runs) == (2.0, 3)


@pytest.mark.parametrize(("percent", "expected"), [(1, 1), (50, 50), (95, 95), (99, 99), (100, 100)])
def test_percentiles_are_nearest_ranks(percent: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], percent) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.1, 100))
def test_a_percentile_is_a_value_that_enough_others_do_not_exceed(values: list[float], percent: float) -> None:
    found = percentile(values, percent)

    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 * (1 - 1e-9)


def test_a_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        percentile([], 50)


def test_the_report_is_a_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = Row("p", "base", 20.0, 20)
    rows = [compared(Row("p", "ours", 10.0, 20, figures={"p99 ms": 12.5}, remark="noted"), base), base]
    rows.append(skipped_row("p", "peer", "torch is not installed"))

    write_report(rows, tmp_path / "bench.json")

    printed = capsys.readouterr().out
    assert "2.00x of base; p99 ms 12.5; noted" in printed
    assert "skipped: torch is not installed" in printed
    written = json.loads((tmp_path / "bench.json").read_text())
    assert [row["ratio"] for row in written["rows"]] == [2.0, None, None]
    assert written["rows"][0]["figures"] == {"p99 ms": 12.5}
    assert written["machine"] == machine()
