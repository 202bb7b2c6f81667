"""A server that asks for a key, and the clients that are not among this Python's packages: Node's and KServe's."""

import contextlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.test_live import drawn_photo, request

KEY = "a-key-of-22-characters"

SCRIPTS = Path(__file__).parent / "node"
INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


@pytest.fixture(scope="session")
def node_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a directory with the scripts in `node/` and the packages that its lock names."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node and npm are not installed (Node 20 or newer will do)")
    place = tmp_path_factory.mktemp("node") / "clients"
    shutil.copytree(SCRIPTS, place, ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(INSTALL, cwd=place, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        pytest.skip(f"npm could not fetch Node's clients: {done.stderr.strip()[-200:]}")
    return place


@pytest.fixture(scope="session")
def kserve_python() -> str:
    """Returns a Python that has KServe's client."""
    apart = Path(__file__).parents[3] / "build" / "kserve"
    if (apart / ".installed").exists():
        return str(apart / "bin" / "python")
    if importlib.util.find_spec("kserve") is None:
        pytest.skip("KServe's client is not installed (`make kserve` installs it)")
    return sys.executable


@pytest.fixture(scope="session")
def url(
    serve: Callable[..., contextlib.AbstractContextManager[str]],
    toy_bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Yields the URL of a server that asks for `KEY`."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY)
    with serve(toy_bundle, "--api-key-file", str(keys)) as url:
        yield url


@pytest.fixture(scope="session")
def expected(url: str) -> Any:
    """Returns what our own endpoint says of the drawn photo."""
    return request(url, "POST", "/v1/predict", drawn_photo(), headers={"X-API-Key": KEY})[2]["results"][0]


@pytest.fixture(scope="session")
def caption(expected: Any) -> str:
    """Returns the caption of the drawn photo."""
    return str(expected["captions"][0]["text"])
