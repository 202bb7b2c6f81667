"""The captions of dev: are they alike, and which words do they use?"""

import math
from collections import Counter
from collections.abc import Iterable
from statistics import pstdev

from model.vocabulary import SPECIAL
from training.doctor.check import Check
from training.doctor.evidence import Answers, Evidence, Sample
from training.doctor.verdicts import Bounds, Figure, LackingError, present

USUAL_PHOTOS = 3
"""Photos whose references have a word that a model is expected to say somewhere."""

_SHOWN = 5


def _references(sample: Sample) -> list[str]:
    """Returns one sentence that a person wrote for each photo."""
    found = [photo.captions[0] for photo in sample.photos if photo.captions]
    if not found:
        raise LackingError("the records hold classes, not captions", "give --records with captions")
    return found


def _words_of(evidence: Evidence, texts: Iterable[str]) -> set[str]:
    """Returns the words of texts, of those that the vocabulary has."""
    vocabulary = present(evidence.vocabulary)
    return {word for text in texts for word in vocabulary.decode(evidence.encode(text))} - set(SPECIAL)


def _said(answers: Answers) -> set[str]:
    return {word for words in answers.words for word in words}


def _share(count: int, total: int) -> float:
    return 100 * count / total


def _distinct(evidence: Evidence) -> Figure:
    captions = present(evidence.answers).captions
    references = _references(present(evidence.sample))
    count = len(set(captions))
    people = len(set(references))
    fair = _share(people, len(references))
    # A single caption is wrong however few photos there are.
    wrong = max(0.1 * fair, _share(1, len(captions)) * (1.5 if people > 1 else 1))
    text = f"{count} for {len(captions)} photos; people, one sentence each: {people}"
    bounds = Bounds(max(0.3 * fair, wrong), wrong, low_is_bad=True)
    return Figure(value=_share(count, len(captions)), text=text, bounds=bounds)


def _commonest(evidence: Evidence) -> Figure:
    captions = present(evidence.answers).captions
    references = _references(present(evidence.sample))
    caption, count = Counter(captions).most_common(1)[0]
    people = _share(Counter(references).most_common(1)[0][1], len(references))
    bounds = Bounds(min(95, max(15, 2 * people)), min(95, max(50, 2 * people)))
    return Figure(value=_share(count, len(captions)), text=f'{count} of {len(captions)}: "{caption}"', bounds=bounds)


def _seeing(evidence: Evidence) -> Figure:
    log_probs = present(evidence.answers).log_probs
    if len(log_probs) < 2:
        raise LackingError("one photo says nothing of what varies", "raise --photos, or keep more photos in dev")
    spread = pstdev(log_probs) if all(map(math.isfinite, log_probs)) else math.nan
    text = f"{len(log_probs)} photos: from {min(log_probs):.2f} to {max(log_probs):.2f} nats"
    return Figure(value=spread, text=text)


def _unending(evidence: Evidence) -> Figure:
    answers = present(evidence.answers)
    count = sum(len(words) >= answers.max_words for words in answers.words)
    return Figure(
        value=_share(count, len(answers.words)), text=f"{count} of {len(answers.words)}, at {answers.max_words} words"
    )


def _words_used(evidence: Evidence) -> Figure:
    said = _said(present(evidence.answers))
    people = _words_of(evidence, _references(present(evidence.sample)))
    size = len(present(evidence.vocabulary)) - len(SPECIAL)
    text = f"{len(said)} words, {_share(len(said), size):.1f} % of the vocabulary; people: {len(people)}"
    return Figure(value=_share(len(said), max(1, len(people))), text=text)


def _never_said(evidence: Evidence) -> Figure:
    said = _said(present(evidence.answers))
    photos = present(evidence.sample).photos
    counts = Counter(word for photo in photos for word in sorted(_words_of(evidence, photo.captions)))
    usual = [word for word, count in counts.most_common() if count >= USUAL_PHOTOS]
    if not usual:
        raise LackingError(f"no word stands in the captions of {USUAL_PHOTOS} photos of the sample", "raise --photos")
    never = [word for word in usual if word not in said]
    shown = ", ".join(never[:_SHOWN]) + (", …" if len(never) > _SHOWN else "")
    text = f"{len(never)} of {len(usual)} words that people use for {USUAL_PHOTOS} photos or more"
    return Figure(value=_share(len(never), len(usual)), text=f"{text}{f': {shown}' if shown else ''}")


CHECKS = (
    Check(
        name="distinct captions",
        about="Captions of dev that differ, in % of the photos. People's captions of the same photos set the bounds.",
        bounds=Bounds(30, 10, low_is_bad=True),
        advice=(
            "see what is said of decoder and features; if they are fine, train longer or at a lower rate, and look at "
            "dev's loss in curves.svg"
        ),
        measure=_distinct,
    ),
    Check(
        name="commonest caption",
        about="Photos of dev that get the commonest caption.",
        bounds=Bounds(15, 50),
        advice="as for distinct captions; a decoder that has learned only which words are frequent says this one",
        measure=_commonest,
    ),
    Check(
        name="decoder sees the photo",
        about="Standard deviation of the log-probability of captions over the photos: 0 if the photo changes nothing.",
        bounds=Bounds(0.02, 0.001, "nats", low_is_bad=True),
        advice=(
            "if features vary, the decoder does not read them: train it anew at a lower rate, or with "
            "`--image-every-step`"
        ),
        measure=_seeing,
    ),
    Check(
        name="captions without an end",
        about="Captions of dev that are cut at the search's most words.",
        bounds=Bounds(20, 60),
        advice="raise `--max-words` of `export`; if captions then ramble, the decoder has not learned to end: train on",
        measure=_unending,
    ),
    Check(
        name="words used",
        about="Distinct words in the captions of dev, in % of those in one sentence of a person for each photo.",
        bounds=Bounds(15, 5, low_is_bad=True),
        advice="train longer; raise `--min-count` of `prepare`, so that rare words do not take the decoder's units",
        measure=_words_used,
    ),
    Check(
        name="words never said",
        about=f"Words that people use for {USUAL_PHOTOS} photos of the sample or more, and no caption has.",
        bounds=Bounds(90, 98),
        advice="train longer, or with `--loss full` if softmax was sampled; a beam of 1 says more words than one of 10",
        measure=_never_said,
    ),
)
"""The checks of this family."""
