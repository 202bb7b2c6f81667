"""Caption scores by pycocoevalcap: BLEU-1 to 4, METEOR, ROUGE-L and CIDEr."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import IO, NamedTuple, TypeVar

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor import meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from model.errors import DataError
from model.vocabulary import tokenize
from training.data.mixing import by_source

Sentences = Mapping[str, Sequence[str]]
Split = dict[str, list[str]]
"""Sentences by image name, their words joined by single spaces."""
Key = TypeVar("Key", bound=Hashable)

METEOR_SECONDS = 600.0
"""Time limit of METEOR's Java program, which takes about 10 s for 1,000 images."""


class CaptionScores(NamedTuple):
    """The scores of one set of captions.

    Attributes:
        scores: Scores times 100 by metric name, and `distinct captions`, a count.
        ciders: CIDEr times 100 of each image, by its name.
    """

    scores: dict[str, float]
    ciders: dict[str, float]


def caption_scores(references: Sentences, captions: Mapping[str, str], *, tokenizer: str) -> dict[str, float]:
    """Scores one caption per image against its references, without METEOR, whose Java program starts slowly.

    Where photos are of several sources, each source is scored by itself too, and CIDEr is the mean over the sources:
    how rare a word is, which CIDEr counts by, differs between them.

    Args:
        references: Reference sentences by image name.
        captions: One caption by image name; the same names.
        tokenizer: `ptb` (the Penn Treebank tokenizer that published scores use; needs Java) or `showtell` (ours).

    Returns:
        Scores times 100, and `distinct captions`, a count; of several sources also `BLEU-4 SOURCE`, `CIDEr SOURCE` and
        `distinct captions SOURCE`.

    Raises:
        DataError: The names differ, or there are none, or Java's tokenizer fails.

    Source:
        Papineni et al. 2002 (BLEU); Lin 2004 (ROUGE-L); Vedantam et al. 2015 (CIDEr-D, arXiv:1411.5726).
    """
    split = _split_all(references, {"": captions}, tokenizer)
    return _without_meteor(*split)[""].scores


def compare_captions(
    references: Sentences, captions: Mapping[Key, Mapping[str, str]], *, tokenizer: str
) -> tuple[dict[Key, CaptionScores], dict[str, str]]:
    """Scores several sets of captions of the same images, METEOR included where Java runs it.

    Args:
        references: Reference sentences by image name.
        captions: Sets of captions, each with one caption by image name; the same names.
        tokenizer: As in `caption_scores`.

    Returns:
        scores: The scores of each set.
        left_out: Why a metric was left out, by its name; empty when none was.

    Raises:
        DataError: The names differ, or there are none, or Java's tokenizer fails.

    Source:
        As `caption_scores`; Denkowski & Lavie 2014 (METEOR 1.5, English), whose synonyms are English only.
    """
    truth, ours = _split_all(references, captions, tokenizer)
    results = _without_meteor(truth, ours)
    try:
        meteors = meteor_scores(truth, ours)
    except DataError as error:
        return results, {"METEOR": str(error)}
    return {
        key: CaptionScores(_in_order(scores | {"METEOR": meteors[key]}), ciders)
        for key, (scores, ciders) in results.items()
    }, {}


def meteor_scores(
    truth: Mapping[str, Sequence[str]], captions: Mapping[Key, Mapping[str, Sequence[str]]], *,
    limit_seconds: float = METEOR_SECONDS,
) -> dict[Key, float]:  # fmt: skip
    """Scores sets of captions by METEOR 1.5 in one run of its Java program, which has ended when this returns.

    Args:
        truth: Tokenized reference sentences by image name.
        captions: Sets of tokenized captions, a list of one sentence by image name.
        limit_seconds: Time after which the program is ended.

    Returns:
        METEOR times 100, rounded to 2 digits, of each set.

    Raises:
        DataError: There is no Java, or it fails or takes longer than the limit.

    Source:
        Denkowski & Lavie 2014, "Meteor Universal"; version 1.5 with `-l en -norm`, as in the COCO caption evaluation.
    """
    if shutil.which("java") is None:
        raise DataError("expected the program java, found none; install Java 8 or newer for METEOR")
    with tempfile.TemporaryFile() as errors, contextlib.ExitStack() as stack:
        try:
            program = _Meteor(errors)
            stack.callback(program.end)
            watchdog = threading.Timer(limit_seconds, program.kill)
            stack.callback(watchdog.cancel)
            watchdog.start()
            plain = _without_bars(truth)
            return {k: round(100 * program.compute_score(plain, _without_bars(c))[0], 2) for k, c in captions.items()}
        except (OSError, ValueError) as error:
            program_says = _last_line(errors) or "nothing"
            raise DataError(
                f"expected METEOR's Java program to answer within {limit_seconds:g} s, received: {program_says}; "
                "see that `java -version` works and that 2 GB of memory are free"
            ) from error


def default_tokenizer() -> str:
    """Returns `ptb` where Java is installed, else `showtell`."""
    return "ptb" if shutil.which("java") else "showtell"


class _Meteor(meteor.Meteor):  # type: ignore[misc]
    """A run of METEOR that can always be ended.

    pycocoevalcap itself does not read the error pipe, and its destructor waits forever for a lock that a failed call
    holds.
    """

    def __init__(self, errors: IO[bytes]) -> None:
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

    def kill(self) -> None:
        if self.meteor_p.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.meteor_p.pid, signal.SIGKILL)

    def end(self) -> None:
        self.kill()
        for pipe in (self.meteor_p.stdin, self.meteor_p.stdout):
            with contextlib.suppress(OSError):  # a flush at closing fails: the reader is gone
                if pipe is not None:
                    pipe.close()
        self.meteor_p.wait()


def _without_bars(sentences: Mapping[str, Sequence[str]]) -> Split:
    """Removes METEOR's separator, which would make one sentence two."""
    return {name: [text.replace("|||", " ") for text in texts] for name, texts in sentences.items()}


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _without_meteor(truth: Split, captions: Mapping[Key, Split]) -> dict[Key, CaptionScores]:
    return {key: _score_sources(truth, ours) for key, ours in captions.items()}


def _score_sources(truth: Split, ours: Split) -> CaptionScores:
    whole, groups = _score(truth, ours), by_source(truth)
    if len(groups) < 2:
        return whole
    found = {
        source: _score({name: truth[name] for name in names}, {name: ours[name] for name in names})
        for source, names in groups.items()
    }
    names = ("BLEU-4", "CIDEr", "distinct captions")
    apart = {f"{name} {source}": part.scores[name] for name in names for source, part in found.items()}
    mean = {"CIDEr": round(fmean(part.scores["CIDEr"] for part in found.values()), 2)}
    ciders = {name: cider for part in found.values() for name, cider in part.ciders.items()}
    return CaptionScores(whole.scores | mean | apart, ciders)


def _score(truth: Split, ours: Split) -> CaptionScores:
    bleu, _ = Bleu(4).compute_score(truth, ours, verbose=0)
    rouge, _ = Rouge().compute_score(truth, ours)
    cider, ciders = Cider().compute_score(truth, ours)
    scores = {f"BLEU-{n}": round(100 * float(value), 2) for n, value in enumerate(bleu, start=1)}
    scores |= {"ROUGE-L": round(100 * float(rouge), 2), "CIDEr": round(100 * float(cider), 2)}
    scores["distinct captions"] = float(len({tuple(texts) for texts in ours.values()}))
    return CaptionScores(scores, {name: 100 * float(value) for name, value in zip(truth, ciders, strict=True)})


def _in_order(scores: dict[str, float]) -> dict[str, float]:
    """Puts METEOR after BLEU, as in papers on captioning."""
    return {name: scores[name] for name in sorted(scores, key=lambda name: not name.startswith(("BLEU", "METEOR")))}


def _split_all(
    references: Sentences, captions: Mapping[Key, Mapping[str, str]], tokenizer: str
) -> tuple[Split, dict[Key, Split]]:
    """Tokenizes references and captions, all in one run of the tokenizer."""
    for ours in captions.values():
        if not ours or references.keys() != ours.keys():
            raise DataError(f"expected captions of the {len(references)} images with references, received {len(ours)}")
    groups: list[Sentences] = [references, *({name: [ours[name]] for name in references} for ours in captions.values())]
    # PTBTokenizer reads a line per sentence; a line break inside one would shift all that follow.
    plain = [{name: [" ".join(text.split()) for text in texts] for name, texts in group.items()} for group in groups]
    truth, *split = _ptb(plain) if tokenizer == "ptb" else [_ours(group) for group in plain]
    return truth, dict(zip(captions, split, strict=True))


def _ours(sentences: Sentences) -> Split:
    return {name: [" ".join(tokenize(text)) for text in texts] for name, texts in sentences.items()}


def _ptb(groups: Sequence[Sentences]) -> list[Split]:
    wrapped = {
        (index, name): [{"caption": text} for text in texts]
        for index, sentences in enumerate(groups)
        for name, texts in sentences.items()
    }
    advice = "see that `java -version` works, or take the tokenizer showtell"
    try:
        split = PTBTokenizer().tokenize(wrapped)
    except OSError as error:
        raise DataError(f"expected to run the Penn Treebank tokenizer, received: {error}; {advice}") from error
    if any(len(split.get(key, ())) != len(texts) for key, texts in wrapped.items()):
        raise DataError(f"expected a line per sentence from the Penn Treebank tokenizer, received fewer; {advice}")
    return [{name: split[index, name] for name in sentences} for index, sentences in enumerate(groups)]
