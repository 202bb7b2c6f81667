"""schemathesis reads the description of the API and looks for a request whose answer does not keep to it."""

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import running_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KEY = "a-key-of-22-characters"

CONFIG = """
# What is refused although it looks good is in no warning: no schema says that a shape fits the data, and the like.
warnings = ["missing_auth", "missing_test_data", "method_not_allowed", "missing_deserializer", "unused_openapi_auth"]

[parameters]
"path.model" = "{name}"
"path.version" = "{version}"
"""
"""Names the model that serves: others are not found, whatever the rest of the request."""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def schemathesis(tmp_path: Path) -> Run:
    """Returns a function from the arguments of `st run` to what came of it, in a directory that it may litter."""
    root = Path(__file__).parent.parent.parent
    hooks = {"PYTHONPATH": str(root), "SCHEMATHESIS_HOOKS": "tests.server.schemathesis_hooks"}
    # The fourth phase, stateful, is for APIs in which one request makes what another one uses.
    phases = "--phases examples,coverage,fuzzing --checks all --generation-deterministic"
    # One worker: drawn by several threads at once, an example was once "inconsistent"; one takes no longer.
    options = "--max-examples 20 --workers 1 --continue-on-failure --no-color"

    def run(*arguments: str, name: str = "toy", version: str = "1") -> subprocess.CompletedProcess[str]:
        (tmp_path / "schemathesis.toml").write_text(CONFIG.format(name=name, version=version))
        return subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", *phases.split(), *options.split(), *arguments],
            cwd=tmp_path,
            env={**os.environ, **hooks},
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )

    return run


def read_json(url: str) -> Any:
    with contextlib.closing(urllib.request.urlopen(url, timeout=30)) as answer:  # noqa: S310
        return json.load(answer)


def test_no_request_is_answered_otherwise_than_described(live_server: str, schemathesis: Run) -> None:
    model = read_json(f"{live_server}/v1/model")
    done = schemathesis(f"{live_server}/openapi.json", name=model["name"], version=model["version"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout, done.stdout


def test_nor_by_a_server_that_asks_for_a_key(toy_bundle: Path, tmp_path: Path, schemathesis: Run) -> None:
    keys = tmp_path / "keys"
    keys.write_text(KEY)
    with running_server(toy_bundle, tmp_path / "log.txt", "--api-key-file", str(keys)) as url:
        # A right key beside an Authorization of another kind, such as a proxy's, would pass for a wrong one. Without
        # such made-up ones it still tries each operation with no key and with wrong ones.
        options = ("--max-examples", "10", "--generation-with-security-parameters", "false")
        done = schemathesis(f"{url}/openapi.json", "-H", f"X-API-Key: {KEY}", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout, done.stdout


def test_a_description_that_is_wrong_is_found_out(live_server: str, tmp_path: Path, schemathesis: Run) -> None:
    document = read_json(f"{live_server}/openapi.json")
    document["components"]["schemas"]["Alive"]["properties"]["status"] = {"const": "asleep"}
    document["paths"] = {"/livez": document["paths"]["/livez"]}
    (tmp_path / "wrong.json").write_text(json.dumps(document))
    done = schemathesis("wrong.json", "--url", live_server)
    assert done.returncode == 1
    assert "asleep" in done.stdout
