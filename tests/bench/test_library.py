"""Captioning a folder is measured in three ways, which caption the same photos."""

import pytest

from bench.library import ENGINE, LOOP, PIPELINE, measure


@pytest.mark.slow
def test_a_folder_is_captioned_in_all_three_ways() -> None:
    loop, pipeline, engine = measure(photos=40, runs=1)
    assert [row.what for row in (loop, pipeline, engine)] == [f"40 photos: {way}" for way in (LOOP, PIPELINE, ENGINE)]
    assert all(row.value and row.unit == "images/s" for row in (loop, pipeline, engine))
    assert pipeline.against == loop.what
    assert pipeline.figures["MiB at the end"] > 0
    assert pipeline.figures["share of the engine's rate"] > 0
