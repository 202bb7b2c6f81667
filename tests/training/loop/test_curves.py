"""Curves: which figures of a metrics file become which panels, and an SVG that is the same each time."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from model.errors import DataError
from training.loop.curves import POINTS, draw_curves, read_metrics

SVG = "{http://www.w3.org/2000/svg}"


def write(path: Path, *lines: dict[str, Any], end: str = "\n") -> Path:
    path.write_text("\n".join(map(json.dumps, lines)) + end)
    return path


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    """Returns a run of 3000 steps, scored on dev every 500."""
    lines: list[dict[str, Any]] = []
    for step in range(1, 3001):
        loss = 2 + 6 * 0.999**step + (step % 7) * 0.1
        lines.append({"step": step, "kind": "train", "loss": loss, "learning_rate": 1e-3, "step_seconds": 0.2})
        if step % 500 == 0:
            lines.append({"step": step, "kind": "dev", "loss": loss + 0.2, "CIDEr": step / 100})
    return write(tmp_path / "metrics.jsonl", *lines)


def texts(svg: Path) -> list[str]:
    return ["".join(element.itertext()).strip() for element in ET.parse(svg).iter(f"{SVG}text")]  # noqa: S314


def lines_of(svg: Path) -> list[int]:
    """Returns the number of points of every curve, in the order of drawing."""
    coloured = re.compile("stroke: #(1f77b4|d62728|7f7f7f)")
    paths = [p for p in ET.parse(svg).iter(f"{SVG}path") if coloured.search(p.get("style", ""))]  # noqa: S314
    counts = [len(re.findall("[ML]", path.get("d", ""))) for path in paths if path.get("clip-path")]
    return [count for count in counts if count]


def test_every_figure_has_a_panel_and_train_and_dev_share_it(metrics: Path, tmp_path: Path) -> None:
    draw_curves(metrics, tmp_path / "new" / "curves.svg")
    found = texts(tmp_path / "new" / "curves.svg")
    assert [found.count(name) for name in ("loss", "learning rate", "step seconds", "CIDEr")] == [1, 1, 1, 1]
    assert (found.count("train"), found.count("dev"), found.count("step")) == (3, 2, 4)


def test_long_series_are_thinned_and_short_ones_are_not(metrics: Path, tmp_path: Path) -> None:
    draw_curves(metrics, tmp_path / "curves.svg")
    assert lines_of(tmp_path / "curves.svg") == [375, 6, 375, 375, 6]
    assert POINTS == 400


def test_the_same_metrics_give_the_same_bytes(metrics: Path, tmp_path: Path) -> None:
    drawn = []
    for name in ("one.svg", "two.svg"):
        draw_curves(metrics, tmp_path / name)
        drawn.append((tmp_path / name).read_bytes())
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) < 100_000


def test_values_are_read_by_figure_and_kind_in_order_of_steps(tmp_path: Path) -> None:
    path = write(
        tmp_path / "metrics.jsonl",
        {"step": 2, "kind": "train", "loss": 3, "word": "x", "flag": True, "nothing": None},
        {"step": 1, "kind": "train", "loss": 4.0},
        {"step": 1, "kind": "dev", "loss": 5.0},
    )
    assert read_metrics(path) == {"loss": {"train": [(1, 4.0), (2, 3.0)], "dev": [(1, 5.0)]}}


def test_a_resumed_run_replaces_the_steps_that_it_did_again(tmp_path: Path) -> None:
    steps = [(1, 9.0), (2, 8.0), (3, 7.0), (2, 6.0), (3, 5.0)]
    path = write(tmp_path / "m.jsonl", *({"step": step, "kind": "train", "loss": loss} for step, loss in steps))
    assert read_metrics(path) == {"loss": {"train": [(1, 9.0), (2, 6.0), (3, 5.0)]}}


def test_losses_that_are_no_numbers_leave_a_gap(tmp_path: Path) -> None:
    values = (1.0, float("nan"), float("inf"), 2.0)
    path = write(tmp_path / "m.jsonl", *({"step": n, "kind": "train", "loss": v} for n, v in enumerate(values)))
    assert read_metrics(path) == {"loss": {"train": [(0, 1.0), (3, 2.0)]}}
    draw_curves(path, tmp_path / "curves.svg")


@pytest.mark.parametrize("end", ["", "\n", '\n{"step": 2, "kind": "tr', '\n{"step": 2}\n', "\n\x00\x00", "\n\n"])
def test_a_half_written_last_line_is_left_out(tmp_path: Path, end: str) -> None:
    path = write(tmp_path / "metrics.jsonl", {"step": 1, "kind": "dev", "top1": 12.0}, end=end)
    assert read_metrics(path) == {"top1": {"dev": [(1, 12.0)]}}
    draw_curves(path, tmp_path / "curves.svg")
    assert "top1" in texts(tmp_path / "curves.svg")


@pytest.mark.parametrize("line", ["{", "3", '{"kind": "train"}', '{"step": 1.5, "kind": "dev"}', '{"step": 1}', ""])
def test_a_malformed_line_within_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1, "kind": "dev"}}\n{line}\n{{"step": 3, "kind": "dev"}}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl:2: expected a JSON object.*remove the line"):
        draw_curves(path, tmp_path / "curves.svg")


@pytest.mark.parametrize("content", [None, "", '{"step": 1, "kind": "train"}\n'])
def test_a_run_without_figures_is_an_error_and_no_picture(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "metrics.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"metrics\.jsonl: expected"):
        draw_curves(path, tmp_path / "curves.svg")
    assert not (tmp_path / "curves.svg").exists()


def test_a_name_is_text_and_no_markup(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", {"step": 1, "kind": "train", "$x^2$ <b>": 1.0})
    draw_curves(path, tmp_path / "curves.svg")
    assert "$x^2$ <b>" in texts(tmp_path / "curves.svg")
