"""The journal: what is added is found again, whatever else was read or added between."""

from pathlib import Path
from typing import Any

import pytest

from model.library.journal import Journal


def line(number: int) -> dict[str, Any]:
    row = {"file": f"{number}.jpg", "captions": [{"text": "a dog " * (number % 7)}], "error": None}
    return {"stamp": (number, number), "sha256": f"{number:064}", "wrote": {}, "row": row}


def test_rows_are_read_between_additions(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, {}) as journal:
        journal.append({f"{number}.jpg": line(number) for number in range(300)})
    with Journal(path, {}) as journal:
        for number in range(300):
            assert journal.row(f"{number}.jpg") == line(number)["row"]
            journal.append({f"{number + 300}.jpg": line(number + 300)})
        assert journal.row("599.jpg") == line(599)["row"]
        assert [row["file"] for row in journal.rows()] == [f"{number}.jpg" for number in range(600)]


def test_a_photo_that_is_added_again_has_its_newest_row_alone(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal", {}) as journal:
        journal.append({"a.jpg": line(1), "b.jpg": line(2)})
        journal.append({"a.jpg": line(3)})
        assert [row["file"] for row in journal.rows()] == ["2.jpg", "3.jpg"]


@pytest.mark.parametrize("kept_bytes", [0, 1, 40, 1000])
def test_what_is_half_there_is_left_out_and_written_over(tmp_path: Path, kept_bytes: int) -> None:
    path = tmp_path / "journal"
    with Journal(path, {}) as journal:
        journal.append({f"{number}.jpg": line(number) for number in range(50)})
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\n") + 1 + kept_bytes])
    with Journal(path, {}) as journal:
        journal.append({f"{number}.jpg": line(number) for number in range(50)})
        assert {row["file"] for row in journal.rows()} == {f"{number}.jpg" for number in range(50)}
        assert [journal.row(f"{number}.jpg")["file"] for number in range(50)] == [f"{n}.jpg" for n in range(50)]


def test_lines_that_a_signal_kept_from_being_counted_are_found_when_the_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, {}) as journal:
        journal.append({"a.jpg": line(1)})
        end = path.stat().st_size
        journal.append({"b.jpg": line(2)})
        added = path.read_bytes()[end:]
    path.write_bytes(path.read_bytes()[:end])
    with Journal(path, {}) as journal:
        with path.open("ab") as file:
            file.write(added)
        assert [row["file"] for row in journal.rows()] == ["1.jpg"]
        journal.read_again()
        assert [row["file"] for row in journal.rows()] == ["1.jpg", "2.jpg"]
