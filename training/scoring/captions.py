"""Caption scores by pycocoevalcap: BLEU-1 to 4, METEOR, ROUGE-L, CIDEr and SPICE."""

import shutil
from collections.abc import Hashable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple, TypeVar

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from model.errors import DataError
from model.ranges import check_choice
from training.data.language import DEFAULT_LANGUAGE, Language
from training.data.mixing import by_source
from training.scoring.java import Floats, Split, meteor_scores, spice_scores

Sentences = Mapping[str, Sequence[str]]
Key = TypeVar("Key", bound=Hashable)

TOKENIZERS = ("ptb", "showtell")
"""What parts sentences into words before they are scored; see `caption_scores`."""


class CaptionScores(NamedTuple):
    """The scores of one set of captions.

    Attributes:
        scores: Scores times 100 by metric name, and `distinct captions`, a count.
        images: Scores times 100 of each image by its name, by metric: those that are about the mean of the images.
        words: The tokenized captions, a list of one by image name.
        references: The tokenized references by image name.
        meteor_parts: Of each image what METEOR adds up; None where METEOR was left out.
    """

    scores: dict[str, float]
    images: dict[str, dict[str, float]]
    words: Split
    references: Split
    meteor_parts: Floats | None = None

    @property
    def ciders(self) -> dict[str, float]:
        """Returns CIDEr times 100 of each image, by its name."""
        return self.images["CIDEr"]


def caption_scores(
    references: Sentences, captions: Mapping[str, str], *, tokenizer: str, language: Language = DEFAULT_LANGUAGE
) -> dict[str, float]:
    """Scores one caption per image against its references, without METEOR, whose Java program starts slowly.

    Where photos are of several sources, each source is scored by itself too, and CIDEr is the mean over the sources:
    how rare a word is, which CIDEr counts by, differs between them.

    Args:
        references: Reference sentences by image name.
        captions: One caption by image name; the same names.
        tokenizer: `ptb` (the Penn Treebank tokenizer that published scores use; English, needs Java) or `showtell`
            (ours, which parts words as the records of the language do).
        language: The captions' language.

    Returns:
        Scores times 100, and `distinct captions`, a count; of several sources also `BLEU-4 SOURCE`, `CIDEr SOURCE` and
        `distinct captions SOURCE`.

    Raises:
        DataError: The names differ, or there are none, or Java's tokenizer fails or does not fit the language.

    Source:
        Papineni et al. 2002 (BLEU); Lin 2004 (ROUGE-L); Vedantam et al. 2015 (CIDEr-D, arXiv:1411.5726).
    """
    split = _split_all(references, {"": captions}, tokenizer, language)
    return _without_meteor(*split)[""].scores


def compare_captions(
    references: Sentences, captions: Mapping[Key, Mapping[str, str]], *, tokenizer: str, spice: bool = False,
    language: Language = DEFAULT_LANGUAGE,
) -> tuple[dict[Key, CaptionScores], dict[str, str]]:  # fmt: skip
    """Scores several sets of captions of the same images, English ones by METEOR too where Java runs it.

    Args:
        references: Reference sentences by image name.
        captions: Sets of captions, each with one caption by image name; the same names.
        tokenizer: As in `caption_scores`.
        spice: Whether SPICE is wanted, which takes minutes for thousands of images.
        language: As in `caption_scores`.

    Returns:
        scores: The scores of each set.
        left_out: Why a metric was left out, by its name; empty when none was.

    Raises:
        DataError: The names differ, or there are none, or Java's tokenizer fails or does not fit the language.

    Source:
        As `caption_scores`; Denkowski & Lavie 2014 (METEOR 1.5, English), whose synonyms are English only; Anderson et
        al. 2016 (SPICE, arXiv:1607.08822).
    """
    truth, ours = _split_all(references, captions, tokenizer, language)
    results = _without_meteor(truth, ours)
    left_out: dict[str, str] = {}
    for name, program in (("METEOR", meteor_scores), ("SPICE", spice_scores if spice else None)):
        try:
            found = {} if program is None else program(_english(truth, language), ours)
        except DataError as error:
            left_out[name] = str(error)
            continue
        for key, new in found.items():
            before = results[key]
            results[key] = before._replace(
                scores=_in_order(before.scores | {name: new.score}),
                images=before.images | {name: new.images},
                meteor_parts=before.meteor_parts if new.parts is None else new.parts,
            )
    return results, left_out


def choose_tokenizer(wanted: str | None, language: Language) -> str:
    """Returns the tokenizer that is wanted, or else `ptb` for English where Java is installed and `showtell` elsewhere.

    Raises:
        ConfigError: There is no such tokenizer.
        DataError: `ptb` is wanted for another language.
    """
    if wanted is not None:
        check_choice("tokenizer", wanted, TOKENIZERS)
    if wanted == "ptb" and not language.is_english:
        raise DataError(
            f"tokenizer: expected showtell for captions whose language is {language.tag}, received ptb, which is made "
            "for English; leave it out, or say --language en to `prepare` or `score` if the captions are English"
        )
    return wanted or ("ptb" if language.is_english and shutil.which("java") else "showtell")


def _english(truth: Split, language: Language) -> Split:
    """Returns references that a program for English may score; raises DataError where it may not."""
    if not language.is_english:
        raise DataError(f"it is made for English, and the captions' language is {language.tag}")
    return truth


def _without_meteor(truth: Split, captions: Mapping[Key, Split]) -> dict[Key, CaptionScores]:
    return {key: _score_sources(truth, ours) for key, ours in captions.items()}


def _score_sources(truth: Split, ours: Split) -> CaptionScores:
    whole = _score(truth, ours)
    groups = by_source(truth)
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
    return CaptionScores(whole.scores | mean | apart, whole.images | {"CIDEr": ciders}, ours, truth)


def _score(truth: Split, ours: Split) -> CaptionScores:
    bleu, _ = Bleu(4).compute_score(truth, ours, verbose=0)
    rouge, rouges = Rouge().compute_score(truth, ours)
    cider, ciders = Cider().compute_score(truth, ours)
    scores = {f"BLEU-{n}": round(100 * float(value), 2) for n, value in enumerate(bleu, start=1)}
    scores |= {"ROUGE-L": round(100 * float(rouge), 2), "CIDEr": round(100 * float(cider), 2)}
    scores["distinct captions"] = float(len({tuple(texts) for texts in ours.values()}))
    images = {
        metric: {name: 100 * float(value) for name, value in zip(truth, values, strict=True)}
        for metric, values in (("ROUGE-L", rouges), ("CIDEr", ciders))
    }
    return CaptionScores(scores, images, ours, truth)


def _in_order(scores: dict[str, float]) -> dict[str, float]:
    """Puts METEOR after BLEU and SPICE after CIDEr, as in papers on captioning."""
    first = [name for name in scores if name.startswith(("BLEU-", "METEOR"))]
    own = [name for name in (*first, "ROUGE-L", "CIDEr", "SPICE") if name in scores]
    return {name: scores[name] for name in dict.fromkeys([*own, *scores])}


def _split_all(
    references: Sentences, captions: Mapping[Key, Mapping[str, str]], tokenizer: str, language: Language
) -> tuple[Split, dict[Key, Split]]:
    """Tokenizes references and captions, all in one run of the tokenizer."""
    tokenizer = choose_tokenizer(tokenizer, language)
    for ours in captions.values():
        if not ours or references.keys() != ours.keys():
            raise DataError(f"expected captions of the {len(references)} images with references, received {len(ours)}")
    groups: list[Sentences] = [references, *({name: [ours[name]] for name in references} for ours in captions.values())]
    # PTBTokenizer reads a line per sentence; a line break inside one would shift all that follow.
    plain = [{name: [" ".join(text.split()) for text in texts] for name, texts in group.items()} for group in groups]
    truth, *split = _ptb(plain) if tokenizer == "ptb" else [_ours(group, language) for group in plain]
    return truth, dict(zip(captions, split, strict=True))


def _ours(sentences: Sentences, language: Language) -> Split:
    tokenizer = language.tokenizer
    return {name: [" ".join(tokenizer(text)) for text in texts] for name, texts in sentences.items()}


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
