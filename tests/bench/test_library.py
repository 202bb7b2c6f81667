"""Captioning a folder is measured in four ways, which caption the same photos; and on Ray, where it is installed."""

import pytest

from bench.apart import NO_RAY, python_with_ray
from bench.library import ENGINE, FED, LOOP, PIPELINE, measure
from bench.library_ray import ON_RAY, PLAIN


@pytest.mark.slow
def test_a_folder_is_captioned_in_all_four_ways() -> None:
    *ways, plain, on_ray = measure(photos=40, runs=1)
    for begin, photos in ((0, "default bundle, 10 photos"), (4, "small, 40 photos")):
        rows = ways[begin : begin + 4]
        assert [row.what for row in rows] == [f"{photos}: {way}" for way in (LOOP, PIPELINE, FED, ENGINE)]
        assert all(row.value and row.unit == "images/s" for row in rows)
        loop, pipeline = rows[:2]
        assert pipeline.against == loop.what
        assert pipeline.figures["MiB at the end"] > 0
        assert pipeline.figures["share of the fed rate"] > 0
        assert pipeline.figures["share of the rate in memory"] > 0
    assert [row.what for row in (plain, on_ray)] == [f"40 photos: {command}" for command in (PLAIN, ON_RAY)]
    if python_with_ray() is None:
        assert {row.remark for row in (plain, on_ray)} == {f"skipped: {NO_RAY}"}
    else:
        assert plain.against == on_ray.what
        assert plain.value
        assert on_ray.value
