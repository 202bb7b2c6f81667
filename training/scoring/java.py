"""METEOR and SPICE: the metrics whose programs are written in Java."""

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import pycocoevalcap.spice
from pycocoevalcap.meteor import meteor
from tqdm import tqdm

from model.errors import DataError
from training.progress import progress

Split = dict[str, list[str]]
"""Sentences by image name, their words joined by single spaces."""
Key = TypeVar("Key", bound=Hashable)

METEOR_SECONDS = 600.0
"""Time limit of METEOR's Java program, which takes about 10 s for 1,000 images."""

SPICE_SECONDS = 3600.0
"""Time limit of SPICE's Java program for one set of captions; it parses every sentence."""

SPICE_DIRECTORY = Path(pycocoevalcap.spice.__path__[0])
"""Where pycocoevalcap has SPICE's program, and where its download puts the parser."""

PARSER = ("lib/stanford-corenlp-3.6.0.jar", "lib/stanford-corenlp-3.6.0-models.jar")
"""The parser that SPICE needs and that pycocoevalcap lacks, in that directory."""


def meteor_scores(
    truth: Mapping[str, Sequence[str]], captions: Mapping[Key, Mapping[str, Sequence[str]]], *,
    limit_seconds: float = METEOR_SECONDS,
) -> dict[Key, tuple[float, dict[str, float]]]:  # fmt: skip
    """Scores sets of captions by METEOR 1.5 in one run of its Java program, which has ended when this returns.

    Args:
        truth: Tokenized reference sentences by image name.
        captions: Sets of tokenized captions, a list of one sentence by image name.
        limit_seconds: Time after which the program is ended.

    Returns:
        Of each set METEOR times 100, rounded to 2 digits, and that of each image by its name, which do not quite
        average to it.

    Raises:
        DataError: There is no Java, or it fails or takes longer than the limit.

    Source:
        Denkowski & Lavie 2014, "Meteor Universal"; version 1.5 with `-l en -norm`, as in the COCO caption evaluation.
    """
    _check_java("METEOR")
    with tempfile.TemporaryFile() as errors, contextlib.ExitStack() as stack:
        try:
            bar: tqdm[str] = stack.enter_context(progress([], "METEOR", total=len(truth) * len(captions), unit="photo"))
            program = _Meteor(errors, bar)
            stack.callback(program.end)
            watchdog = threading.Timer(limit_seconds, program.kill)
            stack.callback(watchdog.cancel)
            watchdog.start()
            plain = _without_bars(truth)
            found = {key: program.compute_score(plain, _without_bars(ours)) for key, ours in captions.items()}
        except (OSError, ValueError) as error:
            raise _failed("METEOR", _last_line(errors), limit_seconds) from error
    return {
        key: (round(100 * whole, 2), {name: 100 * score for name, score in zip(truth, parts, strict=True)})
        for key, (whole, parts) in found.items()
    }


def spice_scores(
    truth: Mapping[str, Sequence[str]], captions: Mapping[Key, Mapping[str, Sequence[str]]], *,
    limit_seconds: float = SPICE_SECONDS, directory: Path = SPICE_DIRECTORY,
) -> dict[Key, tuple[float, dict[str, float]]]:  # fmt: skip
    """Scores sets of captions by SPICE 1.0, a run of its Java program for each set.

    The program is run as pycocoevalcap runs it, but without its cache, without writing beside its code, and without
    the download of 400 MB that pycocoevalcap begins unasked.

    Args:
        truth: Tokenized reference sentences by image name.
        captions: Sets of tokenized captions, a list of one sentence by image name.
        limit_seconds: Time after which a run is ended.
        directory: Where the program and the parser are.

    Returns:
        Of each set SPICE times 100, rounded to 2 digits, and that of each image by its name.

    Raises:
        DataError: There is no Java or no parser, or the program fails or takes longer than the limit.

    Source:
        Anderson et al. 2016 (arXiv:1607.08822): the F-measure over all tuples, averaged over the images.
    """
    _check_java("SPICE")
    missing = [name for name in PARSER if not (directory / name).is_file()]
    if missing:
        raise DataError(
            f"expected the parser Stanford CoreNLP 3.6.0 in {directory / 'lib'}, found none; `python -c 'from "
            "pycocoevalcap.spice.get_stanford_models import get_stanford_models as get; get()'` downloads it (400 MB)"
        )
    return {
        key: _spice(truth, captions[key], limit_seconds, directory)
        for key in progress(list(captions), "SPICE", unit="set of captions")
    }


def _spice(
    truth: Mapping[str, Sequence[str]], ours: Mapping[str, Sequence[str]], limit_seconds: float, directory: Path
) -> tuple[float, dict[str, float]]:
    asked = [{"image_id": name, "test": ours[name][0], "refs": list(texts)} for name, texts in truth.items()]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        given = Path(folder, "in.json")
        given.write_text(json.dumps(asked), encoding="utf-8")
        answer = Path(folder, "out.json")
        command = ["java", "-Xmx8G", "-jar", "spice-1.0.jar", str(given), "-out", str(answer), "-silent"]
        try:
            _run(command, directory, errors, limit_seconds)
            items = json.loads(answer.read_text(encoding="utf-8"))
            scores = {str(item["image_id"]): 100 * float(item["scores"]["All"]["f"]) for item in items}
            images = {name: scores[name] for name in truth}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _failed("SPICE", _last_line(errors), limit_seconds) from error
    # Where neither caption nor references have anything to compare.
    images = {name: 0.0 if math.isnan(score) else score for name, score in images.items()}
    return round(sum(images.values()) / len(images), 2), images


def _run(command: Sequence[str], directory: Path, errors: IO[bytes], limit_seconds: float) -> None:
    """Runs a program to its end, or to the limit; raises OSError where it fails."""
    program = subprocess.Popen(  # noqa: S603
        command, cwd=directory, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True
    )
    try:
        status = program.wait(limit_seconds)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"no answer within {limit_seconds:g} s") from error
    finally:
        _kill(program)
        program.wait()
    if status:
        raise OSError(f"exit status {status}")


class _Meteor(meteor.Meteor):  # type: ignore[misc]
    """A run of METEOR that can always be ended.

    pycocoevalcap itself does not read the error pipe, and its destructor waits forever for a lock that a failed call
    holds.
    """

    def __init__(self, errors: IO[bytes], bar: "tqdm[str]") -> None:
        self._bar = bar
        command = ["java", "-Dfile.encoding=UTF-8", "-Xmx2G", "-jar", meteor.METEOR_JAR]
        self.meteor_p = subprocess.Popen(  # noqa: S603
            [*command, "-", "-", "-stdio", "-l", "en", "-norm"],
            cwd=Path(meteor.__file__).parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # its own process group: `java` may be a script that starts the real one
        )
        self.lock = threading.Lock()

    def __del__(self) -> None:
        pass

    def _stat(self, hypothesis_str: str, reference_list: Sequence[str]) -> Any:
        self._bar.update()
        return super()._stat(hypothesis_str, reference_list)

    def kill(self) -> None:
        _kill(self.meteor_p)

    def end(self) -> None:
        self.kill()
        for pipe in (self.meteor_p.stdin, self.meteor_p.stdout):
            with contextlib.suppress(OSError):  # a flush at closing fails: the reader is gone
                if pipe is not None:
                    pipe.close()
        self.meteor_p.wait()


def _kill(program: "subprocess.Popen[Any]") -> None:
    """Ends a program with all that it started, since `java` may be a script that starts the real one."""
    if program.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)


def _check_java(metric: str) -> None:
    if shutil.which("java") is None:
        raise DataError(f"expected the program java, found none; install Java 8 or newer for {metric}")


def _failed(metric: str, said: str, limit_seconds: float) -> DataError:
    return DataError(
        f"expected {metric}'s Java program to answer within {limit_seconds:g} s, received: {said or 'nothing'}; "
        f"see that `java -version` works and that {_MEMORY[metric]} of memory are free"
    )


_MEMORY = {"METEOR": "2 GB", "SPICE": "8 GB"}


def _without_bars(sentences: Mapping[str, Sequence[str]]) -> Split:
    """Removes METEOR's separator, which would make one sentence two."""
    return {name: [text.replace("|||", " ") for text in texts] for name, texts in sentences.items()}


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
