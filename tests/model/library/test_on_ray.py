"""A library on two captioners of a Ray cluster: bad files, a kill, and the run that goes on."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.apart import NO_RAY, python_with_ray
from bench.process import family
from model.engines.cores import usable_cores
from model.errors import LibraryError
from model.library.on_ray.pool import Pool, pool_for
from tests.conftest import wait_until
from tests.model.library.conftest import ROOT, Run, make_photos, rows_of

parquet = pytest.importorskip("pyarrow.parquet")

Line = Callable[..., list[str]]


@pytest.fixture(scope="session")
def line(toy_bundle: Path) -> Line:
    """Returns a function from arguments to a command line, by a Python that has Ray."""
    python = python_with_ray()
    if python is None:
        pytest.skip(NO_RAY)
    if usable_cores() < 2:
        pytest.skip("two captioners need two cores")
    return lambda *arguments: [python, "-m", "model.ray_cli", *map(str, arguments), "--bundle", str(toy_bundle)]


def kill_when(line: list[str], condition: Callable[[], bool]) -> int:
    """Runs a command, kills it when a condition holds, and waits for all that it has started; returns how it ended."""
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not condition():
            threading.Event().wait(0.01)
        started = family(process.pid)
        process.kill()
        ended = process.wait()
    wait_until(lambda: not any(Path(f"/proc/{one}").exists() for one in started), 120)
    return ended


def committed(checkpoints: Path) -> list[Path]:
    return [path for path in checkpoints.glob("*.parquet") if ".pending" not in path.name]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_a_killed_run_goes_on_and_every_photo_has_one_row(line: Line, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "photos"
    photos = make_photos(folder, 340)
    # Enough of them that some file of the table holds nothing but failures.
    bad = [folder / f"bad{number:02}.jpg" for number in range(60)]
    for path in bad:
        path.write_bytes(b"")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    out = tmp_path / "captions"
    checkpoints = tmp_path / "captions.checkpoints"
    command = line(folder, "--out", out, "--actors", "2", "--threads", "1")
    assert kill_when(command, lambda: bool(committed(checkpoints))) == -signal.SIGKILL
    assert len(committed(checkpoints)) < 8
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    counts = re.search(r"done now (\d+), before (\d+), failed of all 61 in", done.stderr)
    assert counts, done.stderr
    assert int(counts[1]) + int(counts[2]) == 401
    assert int(counts[2]) > 0
    assert not run(folder, write=("jsonl",), out=tmp_path / "table.jsonl", settings={"captions": 1})
    rows = parquet.read_table(out).to_pylist()
    assert len(rows) == len(photos) + len(bad) + 1
    assert by_file(rows) == by_file(rows_of(tmp_path / "table.jsonl"))
    refused = subprocess.run([*command, "--captions", "2"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "an earlier run had other settings (captions was 1 and is 2)" in refused.stderr


def by_file(rows: list[dict[str, object]]) -> dict[object, tuple[object, ...]]:
    """Returns what must be the same, by photo."""
    return {row["file"]: (row["sha256"], row["width"], row["height"], texts(row), row["error"]) for row in rows}


def texts(row: dict[str, object]) -> list[str]:
    captions = row["captions"]
    assert isinstance(captions, list)
    return [caption["text"] for caption in captions]


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_it_says_what_to_install(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "model.ray_cli", "photos/", "--out", str(tmp_path / "captions")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1, "Error: expected Ray, found none; install it with: pip install 'show-and-tell-server[ray]'\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("machines", "actors", "threads", "pool"),
    [
        ([2.0], None, None, Pool(1, 2)),
        ([2.0], 2, 1, Pool(2, 1)),
        ([64.0], None, None, Pool(16, 4)),
        ([0.0, 4.0, 4.0, 4.0], None, None, Pool(3, 4)),
        ([6.0, 3.0], None, 2, Pool(4, 2)),
        ([1.0], None, None, Pool(1, 1)),
    ],
)
def test_captioners_leave_room_on_every_machine(
    machines: list[float], actors: int | None, threads: int | None, pool: Pool
) -> None:
    assert pool_for(machines, actors, threads) == pool
    assert pool.actors * pool.actor_cpus <= sum(machines) - pool.actors / 2


@pytest.mark.parametrize(
    ("machines", "actors", "threads", "message"),
    [
        ([2.0], 3, 1, "--actors: expected at most 2, as many as there are CPUs for with 1 threads each, received 3"),
        ([4.0, 4.0], None, 8, "--threads: expected at most 4, the CPUs of the largest machine, received 8"),
        ([0.0], None, None, "the cluster has no CPUs; wait until its machines have joined it"),
        ([], 1, 1, "the cluster has no CPUs"),
    ],
)
def test_what_would_wait_for_ever_is_refused(
    machines: list[float], actors: int | None, threads: int | None, message: str
) -> None:
    with pytest.raises(LibraryError, match=re.escape(message)):
        pool_for(machines, actors, threads)
