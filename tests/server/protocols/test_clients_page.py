"""The page about clients: what it shows is run as it stands there, but for the address, against a real server."""

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.test_live import drawn_photo, request

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[3] / "docs" / "clients.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", PAGE)
CLIENTS = (
    "requests", "httpx", "urllib", "fetch", "curl", "wget", "openai", "ollama", "markitdown", "tritonclient", "kserve",
    "PhotoPrism", "Home Assistant", "Frigate", "MCP",
)  # fmt: skip
ELSEWHERE = "http://127.0.0.1:8000", "127.0.0.1:8000", "show-and-tell-vgg19"
"""What the page says of its server: its address, twice, and the name of its model."""


def of(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


@pytest.fixture(scope="module")
def caption(live_server: str) -> str:
    """Returns what our own endpoint says."""
    return str(request(live_server, "POST", "/v1/predict", drawn_photo())[2]["results"][0]["captions"][0]["text"])


@pytest.fixture
def run(live_server: str, caption: str) -> Callable[[Path, str, list[str]], None]:
    """Returns a function that runs a text as a file in a directory with a photo, and looks for its caption."""

    def run(file: Path, text: str, command: list[str]) -> None:
        model = request(live_server, "GET", "/v1/model")[2]["name"]
        for old, new in zip(ELSEWHERE, (live_server, live_server.partition("//")[2], model), strict=True):
            text = text.replace(old, new)
        file.write_text(text, encoding="utf-8")
        (file.parent / "photo.jpg").write_bytes(drawn_photo())
        command = [*command, file.name]
        done = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert caption in done.stdout, done.stdout + done.stderr

    return run


def test_every_client_has_its_place() -> None:
    assert [name for name in CLIENTS if name not in PAGE] == []
    assert {name for name, _ in BLOCKS} == {"sh", "python", "js", "yaml", "json"}


def test_what_is_not_run_says_so() -> None:
    for found in re.finditer(r"(?m)^```yaml$", PAGE):
        paragraph = PAGE[: found.start()].rstrip().rpartition("\n\n")[2]
        assert "from its source, not run" in " ".join(paragraph.split())


@pytest.mark.parametrize("text", of("sh"))
def test_what_a_shell_does(run: Callable[[Path, str, list[str]], None], tmp_path: Path, text: str) -> None:
    missing = [name for name in ("curl", "wget", "base64") if name in text and shutil.which(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    run(tmp_path / "ask.sh", text, ["sh", "-e"])


@pytest.mark.parametrize("text", [text for text in of("python") if "kserve" in text])
def test_what_kserve_s_client_does(
    run: Callable[[Path, str, list[str]], None], kserve_python: str, tmp_path: Path, text: str
) -> None:
    run(tmp_path / "ask.py", text, [kserve_python])


@pytest.mark.parametrize("text", [text for text in of("python") if "kserve" not in text])
def test_what_python_s_clients_do(run: Callable[[Path, str, list[str]], None], tmp_path: Path, text: str) -> None:
    names = re.findall(r"(?m)^from (\w+)|^import (.*)$", text)
    modules = [name for one, more in names for name in re.findall(r"(?:^|, )(\w+)", one or more)]
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    run(tmp_path / "ask.py", text, [sys.executable])


@pytest.mark.parametrize("text", of("js"))
def test_what_node_s_clients_do(run: Callable[[Path, str, list[str]], None], node_clients: Path, text: str) -> None:
    run(node_clients / "ask.mjs", text, ["node"])
