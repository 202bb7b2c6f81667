"""The tables of the documents are those of the code; `make docs` writes them again."""

import dataclasses
import re

import pytest

from server.problems import PROBLEMS
from server.setting_values import variable_of
from server.settings import ServerSettings
from tests.docs.tables import ROOT, TABLES, modules_table, problems_table, settings_table, with_tables


@pytest.mark.parametrize("name", TABLES)
def test_a_page_has_the_tables_of_the_code(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    tables = [table() for table in TABLES[name]]
    assert [table in text for table in tables] == [True] * len(tables), "run `make docs`"
    assert with_tables(text, tables) == text


def test_every_setting_and_every_problem_has_a_row() -> None:
    settings = settings_table()
    problems = problems_table()
    assert all(f"`{variable_of(item.name)}`" in settings for item in dataclasses.fields(ServerSettings))
    assert all(f"| {problem.status} | `{problem.type}` |" in problems for problem in PROBLEMS.values())


def test_every_module_says_what_it_is() -> None:
    rows = modules_table().splitlines()[2:]
    assert len(rows) > 100
    assert all(re.fullmatch(r"\| `[\w/.]+` \| \S.* \|", row) for row in rows)


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_a_table_is_replaced_and_nothing_else() -> None:
    page = "# A\n\n<!-- table -->\n\n| old |\n|---|\n\nafter\n\n| other |\n\n<!-- table -->\n\n| older |\n"
    written = with_tables(page, ["| new |\n|---|", "| newer |"])
    assert written == page.replace("| old |", "| new |").replace("| older |", "| newer |")
