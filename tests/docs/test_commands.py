"""The commands of training's pages are commands that there are, with options that they have."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.docs.tables import ROOT
from training.cli import main

PAGES = ("README.md", "docs/original-design.md", "docs/own-data.md", "docs/training.md")


def commands(page: Path) -> Iterator[list[str]]:
    """Yields the words of each command of training in the indented blocks of a page."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^ {4}(?:\$ )?\.venv/bin/showtell-train (.+)$", text, re.MULTILINE):
        yield shlex.split(line)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_known_with_all_its_options(page: str) -> None:
    found = list(commands(ROOT / page))
    assert found
    for words in found:
        command: click.Command = main
        rest = list(words)
        while isinstance(command, click.Group):
            command = command.commands[rest.pop(0)]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in rest if word.startswith("--")} <= known, " ".join(words)


def test_the_page_of_forms_names_every_form() -> None:
    text = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    for title in (
        "Karpathy's JSON",
        "COCO",
        "Flickr30k",
        "WebDataset",
        "Hugging Face",
        "CSV",
        "texts beside",
        "Parquet",
    ):
        assert re.search(rf"^\| .*{title}", text, re.MULTILINE), title
