"""METEOR and SPICE: the metrics whose programs are written in Java."""

import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pycocoevalcap.spice
from pycocoevalcap.meteor import meteor
from tqdm import tqdm

from model.errors import DataError
from training.progress import progress

Split = dict[str, list[str]]
"""Sentences by image name, their words joined by single spaces."""
Key = TypeVar("Key", bound=Hashable)

Floats = npt.NDArray[np.float64]

METEOR_SECONDS = 600.0
"""Time limit of METEOR's Java program, which takes about 10 s for 1,000 images."""

METEOR_PARTS = 23
"""Numbers that METEOR counts in a caption and adds up over all of them; see `meteor_of`."""

SPICE_SECONDS = 3600.0
"""Time limit of SPICE's Java program for one set of captions; it parses every sentence."""

SPICE_DIRECTORY = Path(pycocoevalcap.spice.__path__[0])
"""Where pycocoevalcap has SPICE's program, and where its download puts the parser."""

PARSER = ("lib/stanford-corenlp-3.6.0.jar", "lib/stanford-corenlp-3.6.0-models.jar")
"""The parser that SPICE needs and that pycocoevalcap lacks, in that directory: its program, then its models."""

PARSER_URL = "http://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"
"""Where the parser is."""

_TRACE = re.compile(r"at \S+\(.*\)|\.\.\. \d+ more")
"""A line of a Java program's traceback that says where, not what."""


class JavaScores(NamedTuple):
    """The scores of one set of captions, times 100.

    Attributes:
        score: Of all images, rounded to 2 digits.
        images: Of each image, by its name.
        parts: Of each image what METEOR adds up, in their order, shape (images, 23); None for SPICE.
    """

    score: float
    images: dict[str, float]
    parts: Floats | None = None


def meteor_scores(
    truth: Mapping[str, Sequence[str]], captions: Mapping[Key, Mapping[str, Sequence[str]]], *,
    limit_seconds: float = METEOR_SECONDS,
) -> dict[Key, JavaScores]:  # fmt: skip
    """Scores sets of captions by METEOR 1.5 in one run of its Java program, which has ended when this returns.

    Args:
        truth: Tokenized reference sentences by image name.
        captions: Sets of tokenized captions, a list of one sentence by image name.
        limit_seconds: Time after which the program is ended.

    Returns:
        The scores of each set. METEOR of all images is that of their parts' sum, not the mean over the images.

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
            return {key: program.scores(plain, _without_bars(ours)) for key, ours in captions.items()}
        except (OSError, ValueError) as error:
            raise _failed("METEOR", _last_line(errors), limit_seconds) from error


def meteor_of(parts: Floats) -> Floats:
    """Returns METEOR times 100 of sums of parts, as its program computes it.

    Args:
        parts: Lengths of caption and reference and their function words; for each of four kinds of match the content
            and the function words matched in both; chunks, and words matched in both. Shape (…, 23).

    Returns:
        Shape (…).

    Source:
        Denkowski & Lavie 2014, sec. 2, with the program's parameters for English.
    """
    alpha, beta, gamma, delta = _ENGLISH
    lengths = parts[..., :2]
    functions = parts[..., 2:4]
    matches = parts[..., 4:20].reshape(*parts.shape[:-1], 4, 2, 2)  # (…, kind, content or function, caption or not)
    found = np.einsum("...kfs,k,f->...s", matches, np.array(_KINDS), np.array([delta, 1 - delta]))
    least = 1e-12  # instead of a division by zero: where nothing is matched the score is 0
    precision, recall = np.moveaxis(
        found / np.maximum(delta * (lengths - functions) + (1 - delta) * functions, least), -1, 0
    )
    mean = precision * recall / np.maximum(alpha * precision + (1 - alpha) * recall, least)
    fragments = parts[..., 20] / np.maximum(parts[..., 21:].mean(axis=-1), least)
    return np.asarray(100 * mean * (1 - gamma * fragments**beta))


_ENGLISH = (0.85, 0.2, 0.6, 0.75)
"""METEOR's alpha, beta, gamma and delta."""

_KINDS = (1.0, 0.6, 0.8, 0.6)
"""Weights of matches: the same word, stem, synonym, paraphrase."""


def spice_scores(
    truth: Mapping[str, Sequence[str]], captions: Mapping[Key, Mapping[str, Sequence[str]]], *,
    limit_seconds: float = SPICE_SECONDS, directory: Path = SPICE_DIRECTORY,
) -> dict[Key, JavaScores]:  # fmt: skip
    """Scores sets of captions by SPICE 1.0, a run of its Java program for each set.

    The program is run as pycocoevalcap runs it, but without its cache, without writing beside its code, and without
    the download of 400 MB that pycocoevalcap begins unasked.

    Args:
        truth: Tokenized reference sentences by image name.
        captions: Sets of tokenized captions, a list of one sentence by image name.
        limit_seconds: Time after which a run is ended.
        directory: Where the program and the parser are.

    Returns:
        The scores of each set.

    Raises:
        DataError: There is no Java or no parser, or the program fails or takes longer than the limit.

    Source:
        Anderson et al. 2016 (arXiv:1607.08822): the F-measure over all tuples, averaged over the images.
    """
    _check_java("SPICE")
    missing = [Path(name).name for name in PARSER if not (directory / name).is_file()]
    if missing:
        raise DataError(
            f"expected the parser Stanford CoreNLP 3.6.0 in {directory / 'lib'}, found no {' and no '.join(missing)}; "
            f"take {'it' if len(missing) == 1 else 'them'} out of {PARSER_URL} (400 MB) and put "
            f"{'it' if len(missing) == 1 else 'them'} there"
        )
    return {
        key: _spice(truth, captions[key], limit_seconds, directory)
        for key in progress(list(captions), "SPICE", unit="set of captions")
    }


def _spice(
    truth: Mapping[str, Sequence[str]], ours: Mapping[str, Sequence[str]], limit_seconds: float, directory: Path
) -> JavaScores:
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
    return JavaScores(round(sum(images.values()) / len(images), 2), images)


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
        self._parts: list[list[float]] = []
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

    def scores(self, truth: Split, ours: Split) -> JavaScores:
        self._parts.clear()
        whole, images = self.compute_score(truth, ours)
        by_name = {name: 100 * score for name, score in zip(truth, images, strict=True)}
        return JavaScores(round(100 * whole, 2), by_name, np.array(self._parts, np.float64))

    def _stat(self, hypothesis_str: str, reference_list: Sequence[str]) -> Any:
        parts = super()._stat(hypothesis_str, reference_list)
        self._parts.append(_counted([float(part) for part in parts.split()]))
        self._bar.update()
        return parts

    def kill(self) -> None:
        _kill(self.meteor_p)

    def end(self) -> None:
        self.kill()
        for pipe in (self.meteor_p.stdin, self.meteor_p.stdout):
            with contextlib.suppress(OSError):  # a flush at closing fails: the reader is gone
                if pipe is not None:
                    pipe.close()
        self.meteor_p.wait()


def _counted(parts: list[float]) -> list[float]:
    """Returns parts as the program adds them up: a caption that is a reference, word for word, has no chunk."""
    if len(parts) != METEOR_PARTS:
        raise ValueError(f"expected {METEOR_PARTS} numbers, received {len(parts)}")
    is_whole = parts[20] == 1 and parts[21:] == parts[:2]
    return [*parts[:20], 0.0 if is_whole else parts[20], *parts[21:]]


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
    lines = [line.strip() for line in errors.read().decode(errors="replace").split("\n")]
    return next((line for line in reversed(lines) if line and not _TRACE.fullmatch(line)), "")
