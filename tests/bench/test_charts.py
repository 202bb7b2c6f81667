"""Charts are drawn from the report that the benchmark wrote, and from nothing else."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from bench.charts import Bar, bars, draw, lines, main
from bench.contenders import OURS
from bench.report import Row, skipped_row

ENGINES = [
    Row("engines", f"default bundle: {stage}, {what}", value, 25)
    for what, values in {"slow peer": (30.0, 60.0, 95.0), OURS.what: (10.0, 5.0, 18.0)}.items()
    for stage, value in zip(("encode", "search", "total"), values, strict=True)
]
OTHERS = [
    Row("limits", "default bundle: encode, another part", 1.0, 25),
    Row("engines", f"default bundle: peak memory, {OURS.what}", 100.0, 1, "MiB"),
    skipped_row("engines", "default bundle: absent peer", "not installed"),
]
SERVERS = [
    Row("http", f"small: {clients} client{'s' * (clients > 1)}: {server}", rate, 300, "images/s")
    for server, rates in {"ours": (100.0, 150.0), "plain": (110.0, 115.0)}.items()
    for clients, rate in zip((1, 16), rates, strict=True)
]


def report(rows: list[Row]) -> list[dict[str, object]]:
    """Returns rows as they stand in the JSON file."""
    return [asdict(row) for row in rows]


def test_bars_are_of_one_size_with_the_fastest_first() -> None:
    found = bars(report([*ENGINES, *OTHERS]), "default bundle")

    assert found == [Bar(OURS.what, 10.0, 5.0, 18.0), Bar("slow peer", 30.0, 60.0, 95.0)]


def test_lines_join_the_numbers_of_clients_of_a_server() -> None:
    assert lines(report([*SERVERS, *ENGINES]), "small") == {
        "ours": [(1, 100.0), (16, 150.0)], "plain": [(1, 110.0), (16, 115.0)],
    }  # fmt: skip
    assert lines(report(SERVERS), "default bundle") == {}


def test_charts_are_small_and_light_pictures(tmp_path: Path) -> None:
    made = draw(report([*ENGINES, *OTHERS, *SERVERS]), tmp_path / "images")

    assert [path.name for path in made] == ["engines-default-bundle.png", "http-small.png"]
    for path in made:
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.width >= 800
            assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert path.stat().st_size < 60_000


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (draw(report(ENGINES), tmp_path / name)[0].read_bytes() for name in ("first", "second"))

    assert first == second


def test_the_command_draws_what_several_reports_hold(tmp_path: Path) -> None:
    files = [tmp_path / "engines.json", tmp_path / "http.json"]
    for file, rows in zip(files, (ENGINES, SERVERS), strict=True):
        file.write_text(json.dumps({"machine": {}, "rows": report(rows)}))

    done = CliRunner().invoke(main, [*map(str, files), str(tmp_path)], catch_exceptions=False)

    assert done.exit_code == 0
    assert (
        done.output.split() == [str(tmp_path / name) for name in ("http-small.png", "engines-default-bundle.png")][::-1]
    )


@pytest.mark.parametrize("rows", [[], OTHERS])
def test_a_report_with_nothing_to_draw_is_an_error(tmp_path: Path, rows: list[Row]) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps({"machine": {}, "rows": report(rows)}))

    done = CliRunner().invoke(main, [str(file), str(tmp_path / "images")])

    assert done.exit_code == 1
    assert "found none" in done.output
