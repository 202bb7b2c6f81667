"""Node's clients of OpenAI and Ollama against a real server: two scripts in `node/`, as people would write them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.server.protocols.conftest import KEY
from tests.server.test_live import drawn_photo

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(url: str, node_clients: Path) -> Callable[[str], Any]:
    """Returns a function from the name of a script to what it says."""
    (node_clients / "photo.jpg").write_bytes(drawn_photo())

    def run(name: str) -> Any:
        command = ["node", name, url, KEY, "photo.jpg"]
        done = subprocess.run(command, cwd=node_clients, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_openai(run: Callable[[str], Any], caption: str) -> None:
    said = run("openai.mjs")
    assert said["whole"][0] == said["streamed"] == said["response"] == caption
    assert len(said["whole"]) == 2
    assert said["models"] == ["toy"]
    is_bad_request, code, message = said["refused"]
    assert is_bad_request
    assert code == "malformed_body"
    assert "never fetches" in message
    assert said["stranger"] is True


def test_ollama(run: Callable[[str], Any], caption: str) -> None:
    said = run("ollama.mjs")
    assert said["whole"] == said["streamed"] == caption
    assert said["labels"] == 5
    assert said["models"] == ["toy"]
    assert said["sees"] is True
    assert said["refused"][0] == 400
    assert "images" in said["refused"][1]
    assert said["stranger"] == 401
