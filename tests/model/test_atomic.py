"""Files and directories that appear whole or not at all."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from model.atomic import atomic_directory, atomic_file

ROOT = Path(__file__).parents[2]


class StoppedError(Exception):
    """The interruption in the tests below."""


def tree(path: Path) -> dict[str, str]:
    """Returns the content of every file below `path` by its relative name."""
    return {str(file.relative_to(path)): file.read_text() for file in path.rglob("*") if file.is_file()}


def test_a_file_appears_when_the_block_ends_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert tree(tmp_path) == {"new/file.txt": "new"}


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old and longer")
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old and longer"
    assert tree(tmp_path) == {"file.txt": "new"}


@pytest.mark.parametrize("error", [StoppedError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [{}, {"file.txt": "old"}], ids=["new", "replaced"])
def test_a_block_that_raises_leaves_the_file_as_it_was(
    tmp_path: Path, old: dict[str, str], error: type[BaseException]
) -> None:
    for name, text in old.items():
        (tmp_path / name).write_text(text)

    def write() -> None:
        with atomic_file(tmp_path / "file.txt") as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert tree(tmp_path) == old


def test_a_block_that_writes_no_file_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_file(path):
        pass
    assert tree(tmp_path) == {"file.txt": "old"}


def test_a_file_never_replaces_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "place"
    path.mkdir()
    (path / "kept.txt").write_text("kept")
    with pytest.raises(OSError, match="place"), atomic_file(path) as temporary:
        temporary.write_text("new")
    assert tree(tmp_path) == {"place/kept.txt": "kept"}


def test_a_directory_appears_when_the_block_ends_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder"
    with atomic_directory(path) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "file.txt").write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert tree(tmp_path) == {"new/folder/inner/file.txt": "new"}
    assert path.stat().st_mode & 0o777 == 0o755


def test_a_directory_is_replaced_whole_and_no_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old.txt").write_text("old")
    with atomic_directory(path) as temporary:
        (temporary / "new.txt").write_text("new")
        assert tree(path) == {"old.txt": "old"}
    assert tree(tmp_path) == {"folder/new.txt": "new"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("error", [StoppedError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [{}, {"folder/old.txt": "old"}], ids=["new", "replaced"])
def test_a_block_that_raises_leaves_the_directory_as_it_was(
    tmp_path: Path, old: dict[str, str], error: type[BaseException]
) -> None:
    for name, text in old.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)

    def write() -> None:
        with atomic_directory(tmp_path / "folder") as temporary:
            (temporary / "half.txt").write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert tree(tmp_path) == old
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"][: len(old)]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space"), KeyboardInterrupt()], ids=["full", "stopped"])
def test_an_interruption_between_the_two_renames_leaves_the_old_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old.txt").write_text("old")

    def rename(source: Path, target: Path) -> Path:
        if target == path and source.suffix == ".partial":
            raise error
        os.rename(source, target)  # noqa: PTH104
        return Path(target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(type(error)), atomic_directory(path) as temporary:
        (temporary / "new.txt").write_text("new")
    assert tree(tmp_path) == {"folder/old.txt": "old"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_process_killed_in_the_block_leaves_the_old_content_and_the_next_run_replaces_it(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "folder" if kind == "directory" else tmp_path / "folder" / "file.txt"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file.txt").write_text("old")
    program = (
        "import os, pathlib, signal, sys\n"
        "from model.atomic import atomic_directory, atomic_file\n"
        "manager = {'file': atomic_file, 'directory': atomic_directory}[sys.argv[1]]\n"
        "with manager(pathlib.Path(sys.argv[2])) as temporary:\n"
        "    (temporary / 'file.txt' if temporary.is_dir() else temporary).write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, kind, str(path)], cwd=ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert tree(tmp_path / "folder")["file.txt"] == "old"
    if kind == "directory":
        with atomic_directory(path) as temporary:
            (temporary / "file.txt").write_text("new")
    else:
        with atomic_file(path) as temporary:
            temporary.write_text("new")
    assert tree(tmp_path / "folder")["file.txt"] == "new"


@pytest.mark.parametrize("swapped", [False, True], ids=["between the renames", "after both"])
def test_what_a_kill_left_behind_is_put_right_by_the_next_run(tmp_path: Path, swapped: bool) -> None:
    path = tmp_path / "folder"
    for name, text in ((".folder.old", "old"), (".folder.partial", "half"), *([("folder", "new")] if swapped else [])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.txt").write_text(text)

    def interrupted() -> None:
        with atomic_directory(path):
            raise StoppedError

    with pytest.raises(StoppedError):
        interrupted()
    assert tree(tmp_path) == {"folder/file.txt": "new" if swapped else "old"}
