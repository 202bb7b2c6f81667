"""Writes the tables of the documents from the code: `python -m tests.docs.tables`, or `make docs`."""

import ast
import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from server.description.operation import Operation
from server.description.operations import operations
from server.parameters import PARAMETERS
from server.problems import INTERNAL, PROBLEMS, UNREADABLE_PROBLEMS, UNTYPED, Problem
from server.protocols.table import chosen
from server.setting_values import accepted, default_of, flag_of, variable_of
from server.settings import ServerSettings
from training.doctor.checks import CHECKS
from training.doctor.verdicts import amount

ROOT = Path(__file__).parents[2]

PACKAGES = ("model", "server", "training", "bench", "static")


def settings_table() -> str:
    """Returns all settings as a Markdown table."""
    lines = ["| flag | variable | default | values | what it is |", "|---|---|---|---|---|"]
    for item in dataclasses.fields(ServerSettings):
        flag = "" if item.metadata["secret"] else f"`{flag_of(item.name)}`"
        cells = (flag, f"`{variable_of(item.name)}`", default_of(item), accepted(item), item.metadata["about"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def routes_table() -> str:
    """Returns the routes of our own protocol as a Markdown table."""
    lines = ["| route | what it is |", "|---|---|"]
    for operation in operations(ServerSettings()):
        summary = operation.summary if operation.summary.endswith("?") else f"{operation.summary}."
        about = operation.about.partition(". ")[0].removesuffix(".")
        lines.append(f"| {_routes([operation])} | {summary} {about}. |")
    return "\n".join(lines)


def parameters_table() -> str:
    """Returns the parameters of a prediction as a Markdown table."""
    lines = ["| parameter | values | what it is |", "|---|---|---|"]
    lines += [f"| `{name}` | {option.expected} | {option.about} |" for name, option in PARAMETERS.items()]
    return "\n".join(lines)


def protocols_table() -> str:
    """Returns the routes of other servers' protocols as a Markdown table."""
    lines = ["| protocol | routes |", "|---|---|"]
    for protocol in chosen(ServerSettings()):
        routes = _routes(route.operation for route in protocol.routes)
        lines.append(f"| `{protocol.name}` | {routes} |")
    return "\n".join(lines)


def _routes(described: Iterable[Operation]) -> str:
    return ", ".join(f"`{operation.method.upper()} {operation.path}`" for operation in described)


def problems_table() -> str:
    """Returns all problems as a Markdown table, by status."""
    causes: dict[Problem, list[str]] = {}
    for kind, problem in (*PROBLEMS.items(), *UNREADABLE_PROBLEMS.items()):
        causes.setdefault(problem, []).append(_cause(kind, problem))
    lines = ["| status | type | when | try again |", "|---|---|---|---|"]
    for problem in sorted(causes, key=lambda item: (item.status, item.type)):
        seconds = problem.retry_after_seconds
        retry = "" if seconds is None else f"after {seconds} s"
        lines.append(f"| {problem.status} | `{problem.type}` | {' '.join(dict.fromkeys(causes[problem]))} | {retry} |")
    return "\n".join(lines)


def _cause(kind: type[Exception], problem: Problem) -> str:
    if problem is INTERNAL:
        return "The server failed; the answer has an incident id, under which its log has the reason."
    if problem.type == UNTYPED:
        return f"{problem.title}: this server cannot read the HTTP, or does not serve the path on this port."
    return (kind.__doc__ or kind.__name__).partition("\n")[0]


def checks_table() -> str:
    """Returns the checks of `showtell-train doctor` as a Markdown table."""
    lines = ["| check | what its figure is | fine | wrong |", "|---|---|---|---|"]
    for check in CHECKS:
        bounds = check.bounds
        wrong = f"{'below' if bounds.low_is_bad else 'above'} {amount(bounds.wrong, bounds.unit)}"
        cells = (check.name, check.about, bounds.fine, wrong if math.isfinite(bounds.wrong) else "never")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def modules_table() -> str:
    """Returns a Markdown table of all modules, by package, with the first sentence of each."""
    lines = ["| module | what it is |", "|---|---|"]
    for package in PACKAGES:
        lines += [f"| `{path.relative_to(ROOT).as_posix()}` | {about} |" for path, about in _modules(ROOT / package)]
    return "\n".join(lines)


def _modules(package: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(package.rglob("*.[pj][ys]"), key=lambda path: (path.parent, path.name != "__init__.py", path)):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            about = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
        else:
            about = text.splitlines()[1].removeprefix("// ")
        is_package = path.name == "__init__.py"
        yield (path.parent if is_package else path), f"**{about}**" if is_package else about


TABLES: Mapping[str, tuple[Callable[[], str], ...]] = MappingProxyType(
    {
        "docs/settings.md": (settings_table,),
        "docs/api.md": (routes_table, parameters_table, protocols_table, problems_table),
        "docs/training.md": (checks_table,),
        "ARCHITECTURE.md": (modules_table,),
    }
)
"""The tables of each file, in their order."""


def with_tables(text: str, tables: Iterable[str]) -> str:
    """Returns a page with the Markdown tables after each `<!-- table -->` replaced, in their order."""
    left = iter(tables)
    return re.sub(r"(<!-- table[^>]*-->\n\n)(?:\|[^\n]*\n)*", lambda found: f"{found[1]}{next(left)}\n", text)


def main() -> None:
    """Writes every table."""
    for name, tables in TABLES.items():
        page = ROOT / name
        text = with_tables(page.read_text(encoding="utf-8"), [table() for table in tables])
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
