"""The soak: a real server with a toy bundle for a few seconds, and promises that are seen to be broken."""

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.load import prepared_request
from bench.mixture import Kind
from bench.servers import our_server
from bench.soak import Record, Sample, main, soak


@pytest.mark.slow
def test_a_short_soak_keeps_every_promise_and_is_written_down(toy_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "soak.json"
    result = CliRunner().invoke(main, ["--minutes", "0.1", "--bundle", str(toy_bundle), "--out", str(out)])
    found = json.loads(out.read_text())
    promises = [promise for promise in found["broken"] if "memory" not in promise]  # it is still warming up
    assert promises == [], result.output
    assert sum(sum(counts.values()) for counts in found["statuses"].values()) > 20
    assert len(found["workers"]) == 1
    assert out.with_suffix(".svg").read_text().startswith("<?xml")


@pytest.mark.slow
def test_an_answer_that_was_not_promised_is_told(toy_bundle: Path) -> None:
    wrong = Kind(
        name="text", requests=[[prepared_request("/v1/predict", b"text")]], weight=1, statuses=frozenset({200})
    )
    with our_server(toy_bundle) as server:
        record = soak(server, [wrong], 0.5, 4, 0)
    assert record.statuses["text"].keys() == {"415"}
    assert record.broken()[0].startswith("text: expected 200, received HTTP/1.1 415")


def samples(memory: list[float], workers: tuple[int, ...] = (7,)) -> list[Sample]:
    return [Sample(float(second), value, workers) for second, value in enumerate(memory)]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (Record(samples=samples([100.0] * 5 + [150.0] * 5)), "expected memory to grow by at most 32"),
        (Record(samples=[*samples([1.0]), *samples([1.0], (8,))]), "expected one worker from beginning to end"),
        (Record(samples=samples([1.0] * 4), log="Traceback (most recent call last)"), "expected no traceback"),
    ],
)
def test_a_broken_promise_is_told(record: Record, words: str) -> None:
    (told,) = record.broken()
    assert told.startswith(words)


def test_a_quiet_soak_broke_nothing() -> None:
    assert Record(statuses={"photo": Counter({"200": 3})}, samples=samples([100.0] * 10)).broken() == []
