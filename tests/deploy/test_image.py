"""The image without a container engine: the Dockerfile is linted, and its instructions are carried out in a directory.

Where this runs as root on Linux the result is started as a container would be: another user without capabilities, the
first process of its own, everything read-only but its shared memory.
"""

import fnmatch
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until

ROOT = Path(__file__).parents[2]
IMAGE_PATH = "/opt/show-and-tell"
SANDBOX = r"""
mount --make-rprivate /
findmnt --raw --noheadings --output TARGET | while read -r target; do
    case $target in /proc*|/dev/shm) ;; *) mount -o remount,bind,ro "$target" 2>/dev/null ;; esac
done
exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
"""


def in_context(path: str) -> bool:
    """Returns whether .dockerignore lets a file of the project through: the last line that matches decides."""
    kept = True
    parts = path.split("/")
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if pattern and not pattern.startswith("#"):
            anywhere = pattern.startswith("**/")
            names = parts if anywhere else ["/".join(parts[: index + 1]) for index in range(len(parts))]
            if any(fnmatch.fnmatchcase(name, pattern.removeprefix("**/")) for name in names):
                kept = line.startswith("!")
    return kept


def copy(sources: list[str], target: Path) -> None:
    """Does what COPY does with files of the build context."""
    for source in sources:
        files = [ROOT / source] if (ROOT / source).is_file() else sorted((ROOT / source).rglob("*"))
        for file in files:
            if file.is_file() and in_context(str(file.relative_to(ROOT))):
                place = target / (file.relative_to(ROOT / source) if file != ROOT / source else file.name)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, place)


@pytest.fixture(scope="module")
def image(dockerfile: list[Any]) -> Iterator[Path]:
    """Carries out the first stage in a directory, and yields the directory that the second one copies from there."""
    # Not pytest's own, into which another user cannot look.
    with tempfile.TemporaryDirectory(prefix="show-and-tell-image-") as directory:
        top = Path(directory)
        top.chmod(0o755)
        work = top
        for item in dockerfile:
            if item.stage == 1 and item.name == "WORKDIR":
                work = top / item.text.strip("/")
                work.mkdir(parents=True)
            elif item.stage == 1 and item.name == "COPY":
                *sources, target = item.words
                copy(sources, work / target)
            elif item.stage == 1 and item.name == "RUN":
                # Absolute paths are those of the directory; python and pip stand for those of the base image.
                path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
                command = ["sh", "-c", item.text.replace(IMAGE_PATH, f"{top}{IMAGE_PATH}")]
                subprocess.run(command, cwd=work, env=os.environ | {"PATH": path, "EXTRAS": ""}, check=True)
        copied = next(item for item in dockerfile if item.stage == 2 and item.name == "COPY")
        assert copied.words == ["--from=build", IMAGE_PATH, IMAGE_PATH]
        shutil.rmtree(top / "src")
        yield top / IMAGE_PATH.strip("/")


def sandbox() -> list[str]:
    """Returns what to put before a command so that it runs as in a container; nothing where that cannot be done."""
    prefix = ["unshare", "--mount", "--pid", "--mount-proc", "--fork", "sh", "-c", SANDBOX, "sandbox"]
    if not hasattr(os, "geteuid") or os.geteuid() or any(shutil.which(tool) is None for tool in ("unshare", "setpriv")):
        return []
    return prefix if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode == 0 else []


class Container:
    """The running server.

    Attributes:
        port: On 127.0.0.1.
        environment: As the image sets it, but for addresses.
        sandboxed: Whether it runs as in a container.
        process: What was started; in a sandbox the server is its child.
    """

    def __init__(self, image: Path, entrypoint: list[str], environment: dict[str, str], log: Path) -> None:
        prefix = sandbox()
        self.sandboxed = bool(prefix)
        own_path = environment["PATH"].replace(IMAGE_PATH, str(image)).replace("$PATH", os.defpath)
        self.environment = environment | {"PATH": own_path, "SHOWTELL_HOST": "127.0.0.1", "SHOWTELL_PORT": "0"}
        program = shutil.which(entrypoint[0], path=own_path)
        assert program is not None
        self.log = log
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [*prefix, program, *entrypoint[1:]],
                env=self.environment | {"PATH": f"{own_path}:{os.environ['PATH']}"},
                cwd="/",
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        ready = re.match(r"Ready: open http://127\.0\.0\.1:(\d+)/", self.process.stdout.readline())
        assert ready is not None, log.read_text()
        self.port = int(ready[1])
        self.environment["SHOWTELL_PORT"] = str(self.port)

    @property
    def first_process(self) -> int:
        """Number of the server's own process, outside the sandbox."""
        number = self.process.pid
        children = Path(f"/proc/{number}/task/{number}/children")
        return int(children.read_text().split()[0]) if self.sandboxed else number

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        connection.close()
        return answer.status, content

    def is_healthy(self, command: list[str]) -> bool:
        return subprocess.run(command, env=self.environment, check=False, capture_output=True).returncode == 0


@pytest.fixture
def container(image: Path, dockerfile: list[Any], environment: dict[str, str], tmp_path: Path) -> Iterator[Container]:
    entrypoint = next(item for item in dockerfile if item.name == "ENTRYPOINT")
    running = Container(image, json.loads(entrypoint.text), environment, tmp_path / "log.txt")
    with running.process as process:
        yield running
        if process.poll() is None:
            # The server itself: whoever becomes another user is no longer killed with its parent.
            os.kill(running.first_process, signal.SIGKILL)


@pytest.fixture
def health_check(dockerfile: list[Any]) -> list[str]:
    text = next(item.text for item in dockerfile if item.name == "HEALTHCHECK")
    command: list[str] = json.loads(text.partition("CMD ")[2])
    return command


def test_the_dockerfile_passes_the_linter() -> None:
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, "--no-color", ROOT / "Dockerfile"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_result_runs_nothing_while_it_is_built_and_is_not_root(dockerfile: list[Any]) -> None:
    result = [item for item in dockerfile if item.stage == 2]
    assert "RUN" not in {item.name for item in result}
    assert [item.text for item in result if item.name == "USER"] == ["10001:10001"]
    bases = [item.words[0] for item in dockerfile if item.name == "FROM"]
    assert bases == ["${BASE}", "${BASE}"]


@pytest.mark.slow
def test_the_image_holds_the_server_and_nothing_else(image: Path) -> None:
    packages = next(image.glob("lib/python3*/site-packages"))
    for name in ("server/cli.py", "static/index.html", "model/bundles/default/manifest.json", "ai_edge_litert"):
        assert (packages / name).exists(), name
    unwanted = ("tensorflow", "keras", "training", "tests", "bench", "pip", "setuptools", "matplotlib", "h5py")
    assert [name for name in unwanted if (packages / name).exists()] == []
    commands = {file.name for file in (image / "bin").iterdir()}
    assert {"showtell", "showtell-serve"} <= commands
    assert [name for name in commands if re.match("pip|gcc|cc|showtell-train", name)] == []
    assert sum(file.lstat().st_size for file in image.rglob("*")) < 300e6


@pytest.mark.slow
def test_the_image_captions_a_drawing_is_healthy_and_stops_when_told(
    container: Container, health_check: list[str], drawing: bytes
) -> None:
    assert container.is_healthy(health_check)
    status, answer = container.ask("POST", "/v1/predict", drawing)
    assert (status, answer["results"][0]["status"]) == (200, 200)
    assert answer["results"][0]["captions"][0]["text"]
    os.kill(container.first_process, signal.SIGTERM)
    wait_until(lambda: not container.is_healthy(health_check))
    assert container.ask("POST", "/v1/predict", drawing)[0] == 200, "expected it to serve on for a while"
    assert container.process.wait(20) == 0, container.log.read_text()


@pytest.mark.slow
def test_the_server_is_nobody_and_can_write_nowhere(container: Container, drawing: bytes) -> None:
    if not container.sandboxed:
        pytest.skip("not root on Linux with unshare and setpriv, so the server runs as who runs the tests")
    status = Path(f"/proc/{container.first_process}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert (fields["Uid"].split(), fields["CapBnd"], fields["NoNewPrivs"]) == (["10001"] * 4, "0" * 16, "1")
    assert fields["NSpid"].split()[-1] == "1"
    mounts = Path(f"/proc/{container.first_process}/mountinfo").read_text().splitlines()
    writable = {line.split()[4] for line in mounts if line.split()[5].startswith("rw")}
    assert not any(place.startswith(("/tmp", "/var", "/opt", "/home")) for place in writable)  # noqa: S108
    assert "/" not in writable
    assert container.ask("POST", "/v1/predict", drawing)[0] == 200
