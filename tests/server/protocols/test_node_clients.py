"""Node's clients of OpenAI and Ollama against a real server: two scripts in `node/`, as people would write them."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.test_live import drawn_photo, request

pytestmark = pytest.mark.slow

KEY = "a-key-of-22-characters"


@pytest.fixture(scope="module")
def url(
    serve: Callable[..., contextlib.AbstractContextManager[str]],
    toy_bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Yields the URL of a server that asks for a key."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY)
    with serve(toy_bundle, "--api-key-file", str(keys)) as url:
        yield url


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


@pytest.fixture(scope="module")
def caption(url: str) -> str:
    """Returns what our own endpoint says."""
    answer = request(url, "POST", "/v1/predict", drawn_photo(), headers={"X-API-Key": KEY})[2]
    return str(answer["results"][0]["captions"][0]["text"])


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
