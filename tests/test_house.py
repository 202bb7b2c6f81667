"""The rules of the house that no tool checks: how long a file and a function may be, and where that is too short.

Complexity is ruff's: `max-complexity` in `pyproject.toml`.
"""

import ast
import functools
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("bench", "model", "server", "static", "tests", "training")

FILE_LINES = 300
FUNCTION_LINES = 40
COMPLEXITY = 8

LONGER_FILES = {
    "tests/model/test_format_limits.py": "one limit after the other, on files that the same few functions make",
    "tests/server/test_api.py": "one table of good and bad requests",
    "tests/training/encoder/test_distill.py": "one small run, and everything that must hold for it",
    "tests/training/encoder/test_imagenet.py": "the files that it damages are all made from one layout",
}
"""Files above the limit, with the reason. No function is above it."""

PUBLIC_ALL_THE_SAME = {
    "_exit": "of `os`, documented",
    "_get_ops_details": "of LiteRT, which has no other list of the operations in a file",
    "_replace": "of a NamedTuple, documented",
    "_request_id": "of OpenAI's client, documented",
}
"""Names that begin with an underscore and that tests use, with the reason."""


def sources() -> Iterator[Path]:
    for package in SOURCES:
        for suffix in ("py", "js", "css", "html"):
            yield from sorted((ROOT / package).rglob(f"*.{suffix}"))


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    """Returns all that a Python file is made of."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def function_lines(path: Path) -> Iterator[tuple[str, int]]:
    """Yields every function with the lines of its body, its docstring not counted."""
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            yield node.name, (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_no_file_is_longer_than_it_may_be() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    longer = {path.relative_to(ROOT).as_posix(): lines for path, lines in lengths.items() if lines > FILE_LINES}
    assert {path: lines for path, lines in longer.items() if path not in LONGER_FILES} == {}
    assert LONGER_FILES.keys() <= longer.keys(), "an exception is not needed any more; remove it"


def test_no_function_is_longer_than_it_may_be() -> None:
    longer = {
        f"{path.relative_to(ROOT).as_posix()}: {name}": lines
        for path in sources() if path.suffix == ".py"
        for name, lines in function_lines(path) if lines > FUNCTION_LINES
    }  # fmt: skip
    assert longer == {}


def test_no_function_is_more_complex_than_it_may_be() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert lint["mccabe"]["max-complexity"] == COMPLEXITY
    assert "C90" in lint["select"]
    exempt = "noqa: " + "C901"
    assert [path for path in sources() if exempt in path.read_text(encoding="utf-8")] == []


def is_pair(target: ast.expr, value: ast.expr) -> bool:
    """Returns whether several names get a value each, and do not only swap those that they have."""
    if not (isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)):
        return False
    return {ast.unparse(item) for item in target.elts} != {ast.unparse(item) for item in value.elts}


def assigned_at_once(path: Path) -> Iterator[str]:
    """Yields the statements that assign several values at once, or one value to several names.

    Unpacking what a call returns, and swapping, state one fact.
    """
    for node in nodes(path):
        if not isinstance(node, ast.Assign):
            continue
        if len(node.targets) > 1 or is_pair(node.targets[0], node.value):
            yield f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"


def test_every_statement_assigns_one_value() -> None:
    assert [line for path in sources() if path.suffix == ".py" for line in assigned_at_once(path)] == []


@pytest.mark.parametrize("text", ["    sl" + "eep(", ".sl" + "eep("])
def test_no_test_sleeps(text: str) -> None:
    tests = (ROOT / "tests").rglob("*.py")
    assert [path for path in tests if text in path.read_text(encoding="utf-8")] == []


def private_parts_of_others(path: Path) -> Iterator[str]:
    """Yields where a file reaches into an object that is not its own."""
    for node in nodes(path):
        if not isinstance(node, ast.Attribute) or node.attr in PUBLIC_ALL_THE_SAME:
            continue
        is_private = node.attr.startswith("_") and not node.attr.startswith("__")
        if is_private and ast.unparse(node.value) not in ("self", "cls"):
            yield f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"


def test_no_test_reaches_into_what_is_private() -> None:
    tests = (ROOT / "tests").rglob("*.py")
    assert [line for path in tests for line in private_parts_of_others(path)] == []


def ours(path: Path) -> set[str]:
    """Returns the names in a file that stand for a module, class or function of the project's."""
    names: set[str] = set()
    for node in nodes(path):
        module = node.module if isinstance(node, ast.ImportFrom) else None
        if isinstance(node, ast.Import | ast.ImportFrom):
            for entry in node.names:
                if (module or entry.name).split(".")[0] in SOURCES:
                    names.add((entry.asname or entry.name).split(".")[0])
    return names


def patched(path: Path) -> Iterator[str]:
    """Yields what a test file patches, as it is written there."""
    for node in nodes(path):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("monkeypatch.setattr", "setattr"):
            yield ast.unparse(node.args[0])


def test_no_test_patches_what_is_ours() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {what}"
        for path in (ROOT / "tests").rglob("*.py")
        for what in patched(path) if what.strip("'").split(".")[0] in ours(path) | set(SOURCES)
    }  # fmt: skip
    assert found == set()
