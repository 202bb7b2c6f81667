"""What is a caption, and what is not."""

from pathlib import Path

import pytest

from training.data.forms.report import Report
from training.data.forms.sentences import captions_of


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a dog", ("a dog",)),
        ("  a dog\n", ("a dog",)),
        (["a dog", "two people"], ("a dog", "two people")),
        ("['a dog', 'two people']", ("a dog", "two people")),
        ('["a dog", "it\'s \\"two\\" people"]', ("a dog", 'it\'s "two" people')),
        ("""["a man's dog", 'two "people"']""", ("a man's dog", 'two "people"')),
        ([["a dog"], ["two", ["people"]]], ("a dog", "two", "people")),
        ([{"raw": "A dog.", "tokens": ["a", "dog"]}, {"raw": "Two."}], ("A dog.", "Two.")),
        ("[a dog]", ("[a dog]",)),
        ("[inaudible] speech", ("[inaudible] speech",)),
        ("3 dogs", ("3 dogs",)),
        ("two dogs 🐕🐕", ("two dogs 🐕🐕",)),
        ("一只狗", ("一只狗",)),
        ("no", ("no",)),
        (["a dog", "\\d in Python's list"], ("a dog", "\\d in Python's list")),
        ("['a \\d og']", ("a \\d og",)),
    ],
)
def test_captions_are_found_in_any_shape(value: object, expected: tuple[str, ...]) -> None:
    report = Report()
    assert captions_of(value, "here", report) == expected
    assert report.lines == []


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "null"), ("null", "null"), ("None", "null"), ("NaN", "null"), ("nan", "null"), ("N/A", "null"),
        ("", "empty"), (" \n", "empty"), ("\u2003", "empty"),
        (3, "number"), (2.5, "number"), (True, "number"), ("42", "number"), ("3.14 / 7", "number"), ("1️⃣", "number"),
        ("🐕🐕", "only signs"), ("…!", "only signs"), ("👍🏽", "only signs"),
        ({"x": 1}, "no text"), (b"a dog", "no text"),
        ("a \ud83d dog", "no valid text"),
        ("['a dog' 'two people']", "list without commas"), ("['a dog'\n \"two people\"]", "list without commas"),
        ([None], "null"), ("[null]", "null"), ("[1]", "number"), (["", ""], "empty"),
    ],
)  # fmt: skip
def test_what_is_no_caption_is_left_out_counted_and_listed(value: object, why: str) -> None:
    report = Report()
    assert captions_of(["a dog", value], "rows.csv, line 7", report) == ("a dog",)
    assert all(line.startswith(f"rows.csv, line 7: caption left out ({why}): ") for line in report.lines)
    count = len(report.lines)
    assert report.summary() == [f"left out: {count} captions ({count} {why})"]


@pytest.mark.parametrize("value", ["[" * 100_000 + "]" * 100_000, "[" + "9" * 5000 + "]", "['" + "a" * 10**6])
def test_a_hostile_text_is_taken_as_it_is(value: str) -> None:
    report = Report()
    found = captions_of(value, "here", report)
    assert len(found) + len(report.lines) == 1
    assert all(len(line) < 200 for line in report.lines)


def test_a_report_is_written_line_by_line_whatever_is_in_it(tmp_path: Path) -> None:
    report = Report()
    report.leave_out_caption("a\udce9.csv, line 1", "number", 42)
    report.leave_out_record("b.csv, line 2", "no caption", {"name": "x" * 500, "text": "two\nlines"})
    report.note({"photos that were there twice": 3, "photos that flew": 0})
    report.write(tmp_path / "report.txt")
    lines = (tmp_path / "report.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "a\\udce9.csv, line 1: caption left out (number): 42"
    assert lines[1].startswith("b.csv, line 2: record left out (no caption): {")
    assert (len(lines), len(lines[1]) < 250) == (2, True)
    assert report.summary()[2:] == ["photos that were there twice: 3"]
