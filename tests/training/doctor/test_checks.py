"""Evidence made well and made ill: each illness is named by its own checks, and nothing else is."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.vocabulary import SPECIAL, Vocabulary
from training.doctor.checks import CHECKS, judged
from training.doctor.evidence import Answers, Classes, Contents, Evidence, Machine, Neighbours, Photo, Sample, Trained
from training.doctor.verdicts import Bounds, LackingError, Verdict

PHOTOS = 40
TRAIN = 80
UNITS = 8
WORDS = tuple(f"w{number}" for number in range(30))
LACKING = LackingError("it is away", "bring it")


def sentences(seed: int, count: int, length: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, length)) for _ in range(count)]


def contents(split: str, seed: int, count: int) -> Contents:
    """Returns photos with two sentences of six words each."""
    texts = iter(sentences(seed, 2 * count, 6))
    photos = [Photo(f"{split}-{row}", f"{split}{row}", (next(texts), next(texts)), (7, 7)) for row in range(count)]
    return Contents(photos, count, captioned=True)


def answers(captions: list[str], features: np.ndarray, probabilities: np.ndarray) -> Answers:
    log_probs = np.random.default_rng(4).normal(-9, 1, len(captions)).tolist()
    return Answers(features, probabilities, captions, [text.split() for text in captions], log_probs, 20)


def healthy() -> Evidence:
    """Returns evidence of a model that has nothing."""
    random = np.random.default_rng(0)
    features = random.uniform(0, 1, (PHOTOS, UNITS)).astype(np.float32)
    probabilities = random.dirichlet(np.full(5, 0.3), PHOTOS).astype(np.float32)
    said = answers(sentences(3, PHOTOS, 5), features, probabilities)
    dev = contents("dev", 1, PHOTOS)
    return Evidence(
        train=contents("train", 2, TRAIN),
        dev=dev,
        vocabulary=Vocabulary([*SPECIAL, *WORDS]),
        sample=Sample(dev.photos, [b""] * PHOTOS),
        fit="",
        trained=Trained(features, None, "made"),
        answers=said,
        lite=said,
        classes=Classes(probabilities, ["red", "green", "blue", "yellow", "grey"]),
        neighbours=Neighbours(
            [photo.name for photo in dev.photos], features, random.uniform(0, 1, (TRAIN, UNITS)).astype(np.float32)
        ),
        machine=Machine(0, has_driver=False, asked=""),
    )


def said(evidence: Evidence) -> Answers:
    assert isinstance(evidence.answers, Answers)
    return evidence.answers


def seen(evidence: Evidence) -> Contents:
    assert isinstance(evidence.dev, Contents)
    return evidence.dev


def saying(captions: list[str]) -> Callable[[Evidence], Evidence]:
    def ill(evidence: Evidence) -> Evidence:
        found = answers(captions, said(evidence).features, said(evidence).probabilities)
        return replace(evidence, answers=found, lite=found)

    return ill


def reading(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Evidence], Evidence]:
    """Changes the features of training and server alike."""

    def ill(evidence: Evidence) -> Evidence:
        found = said(evidence)._replace(features=change(said(evidence).features.copy()))
        return replace(evidence, answers=found, lite=found, trained=Trained(found.features, None, "made"))

    return ill


def trained_on(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Evidence], Evidence]:
    """Changes what training saw alone."""
    return lambda evidence: replace(
        evidence, trained=Trained(change(said(evidence).features.copy()), None, "made otherwise")
    )


def first_off(features: np.ndarray) -> np.ndarray:
    features[0, 0] += 0.5
    return features


def half_dead(features: np.ndarray) -> np.ndarray:
    features[:, : UNITS // 2] = 0.25
    return features


def doubled(features: np.ndarray) -> np.ndarray:
    features[:4] = features[4:8]
    return features


def with_nan(features: np.ndarray) -> np.ndarray:
    features[0, 0] = np.nan
    return features


def classed(probabilities: list[float]) -> Callable[[Evidence], Evidence]:
    return lambda evidence: replace(evidence, classes=Classes(np.tile(probabilities, (PHOTOS, 1)), []))


def cut(evidence: Evidence) -> Evidence:
    photos = [photo._replace(lengths=(4, 4)) for photo in contents("train", 2, TRAIN).photos]
    return replace(evidence, train=Contents(photos, TRAIN, captioned=True))


def leaked(*fields: str) -> Callable[[Evidence], Evidence]:
    """Puts dev photos into train: their files, or their sentences."""

    def ill(evidence: Evidence) -> Evidence:
        train = contents("train", 2, TRAIN).photos
        pairs = zip(train[:PHOTOS], seen(evidence).photos, strict=True)
        photos = [
            *train[PHOTOS:],
            *(old._replace(**{name: getattr(new, name) for name in fields}) for old, new in pairs),
        ]
        return replace(evidence, train=Contents(photos, TRAIN, captioned=True))

    return ill


def near(evidence: Evidence) -> Evidence:
    assert isinstance(evidence.neighbours, Neighbours)
    train = evidence.neighbours.train.copy()
    train[:4] = evidence.neighbours.dev[:4] + 0.001
    return replace(evidence, neighbours=evidence.neighbours._replace(train=train))


def lite(**fields: Any) -> Callable[[Evidence], Evidence]:
    return lambda evidence: replace(evidence, lite=said(evidence)._replace(**fields))


CONSTANT = np.full((PHOTOS, UNITS), 0.5, np.float32)
COLLAPSED = {"distinct captions", "commonest caption", "words used", "words never said"}
FLAT = {"features vary", "dead units", "photos with equal features"}

ILLNESSES: dict[str, tuple[Callable[[Evidence], Evidence], set[str]]] = {
    "one caption": (saying(["w1 w2"] * PHOTOS), COLLAPSED),
    "two captions": (
        saying(["w1 w2 w3 w4 w5 w6", "w7 w8 w9 w10 w11 w12"] * 20), {"distinct captions", "commonest caption"}
    ),
    "a favourite": (saying([*["w1 w2"] * 10, *sentences(3, 30, 5)]), {"commonest caption"}),
    "a blind decoder": (
        lambda evidence: replace(evidence, answers=said(evidence)._replace(log_probs=[-3.5] * PHOTOS)),
        {"decoder sees the photo"},
    ),
    "no end": (saying(sentences(3, PHOTOS, 20)), {"captions without an end"}),
    "other features": (trained_on(np.fliplr), {"features as in training", "largest difference of features"}),
    "one feature off": (trained_on(first_off), {"largest difference of features"}),
    "constant features": (reading(lambda _: CONSTANT), FLAT),
    "dead units": (reading(half_dead), {"dead units"}),
    "equal features": (reading(doubled), {"photos with equal features"}),
    "features that are no numbers": (
        reading(with_nan), {"features as in training", "largest difference of features", "features vary"}
    ),
    "one class, surely": (classed([0.01, 0.96, 0.01, 0.01, 0.01]), {"commonest class", "classes in use"}),
    "one class, just so": (classed([0.19, 0.24, 0.19, 0.19, 0.19]), {"commonest class"}),
    "few words": (
        lambda evidence: replace(evidence, vocabulary=Vocabulary([*SPECIAL, *WORDS[:12]])),
        {"unknown words", "captions with an unknown word"},
    ),
    "cut captions": (cut, {"captions cut"}),
    "doubles": (leaked("key"), {"same photos in train and dev"}),
    "near doubles": (near, {"near-same photos in train and dev"}),
    "copied sentences": (leaked("captions"), {"same sentences in train and dev"}),
    "other captions in int8": (lite(captions=sentences(9, PHOTOS, 5)), {"captions of float and int8"}),
    "other classes in int8": (
        lite(probabilities=np.tile([1.0, 0, 0, 0, 0], (PHOTOS, 1))), {"classes of float and int8"}
    ),
    "strangers": (lambda evidence: replace(evidence, fit="expected another encoder"), {"parts that do not fit"}),
    "a GPU turned down": (lambda evidence: replace(evidence, machine=Machine(1, True, "cpu:4")), {"GPUs unused"}),
    "a GPU not seen": (lambda evidence: replace(evidence, machine=Machine(0, True, "")), {"GPUs unused"}),
}  # fmt: skip


def named(evidence: Evidence) -> set[str]:
    return {finding.check for finding in judged(evidence) if finding.verdict != Verdict.FINE}


def test_a_healthy_model_has_nothing() -> None:
    assert {finding.check: finding.text for finding in judged(healthy()) if finding.verdict != Verdict.FINE} == {}


@pytest.mark.parametrize("name", ILLNESSES)
def test_an_illness_is_named_by_its_checks_alone(name: str) -> None:
    ill, expected = ILLNESSES[name]
    evidence = ill(healthy())
    assert named(evidence) == expected
    assert all(finding.next_step for finding in judged(evidence) if finding.check in expected)


def test_every_check_names_an_illness() -> None:
    assert {check.name for check in CHECKS} == {name for _, names in ILLNESSES.values() for name in names}


LACKS: dict[str, set[str]] = {
    "train": {
        "captions cut", "same photos in train and dev", "near-same photos in train and dev",
        "same sentences in train and dev",
    },
    "dev": {
        "unknown words", "captions with an unknown word", "same photos in train and dev",
        "near-same photos in train and dev", "same sentences in train and dev",
    },
    "vocabulary": {
        "words used", "words never said", "unknown words", "captions with an unknown word", "captions cut",
    },
    "sample": {
        "distinct captions", "commonest caption", "words used", "words never said", "photos with equal features",
    },
    "fit": {"parts that do not fit"},
    "trained": {"features as in training", "largest difference of features"},
    "answers": {
        *COLLAPSED, "decoder sees the photo", "captions without an end", "features as in training",
        "largest difference of features", "captions of float and int8", "classes of float and int8",
    },
    "lite": {"captions of float and int8", "classes of float and int8"},
    "classes": {"commonest class", "classes in use"},
    "neighbours": {"near-same photos in train and dev"},
}  # fmt: skip


@pytest.mark.parametrize("piece", LACKS)
def test_what_cannot_be_checked_is_said_with_what_to_give(piece: str) -> None:
    findings = judged(replace(healthy(), **{piece: LACKING}))  # type: ignore[arg-type]
    undone = [finding for finding in findings if finding.verdict == Verdict.NOT_DONE]
    assert {finding.check for finding in undone} == LACKS[piece]
    assert {(finding.value, finding.text, finding.next_step) for finding in undone} == {
        (None, "it is away", "bring it")
    }
    assert all(finding.verdict == Verdict.FINE for finding in findings if finding not in undone)


def test_class_records_have_no_captions_to_check() -> None:
    without = {
        split: Contents([photo._replace(captions=(), lengths=()) for photo in found.photos], found.total, False)
        for split, found in (("train", contents("train", 2, TRAIN)), ("dev", contents("dev", 1, PHOTOS)))
    }
    sample = Sample(without["dev"].photos, [b""] * PHOTOS)
    findings = judged(replace(healthy(), **without, sample=sample))  # type: ignore[arg-type]
    undone = {finding.check for finding in findings if finding.verdict == Verdict.NOT_DONE}
    assert {"unknown words", "captions cut", "distinct captions", "same sentences in train and dev"} <= undone
    assert "same photos in train and dev" not in undone


def test_sentences_that_everyone_writes_are_no_leak() -> None:
    texts = sentences(1, 4, 6)
    same = {
        split: Contents([photo._replace(captions=(texts[row % 4],), lengths=(7,)) for row, photo in
                         enumerate(contents(split, 1, count).photos)], count, True)
        for split, count in (("train", TRAIN), ("dev", PHOTOS))
    }  # fmt: skip
    found = judged(replace(healthy(), **same))  # type: ignore[arg-type]
    assert next(f for f in found if f.check == "same sentences in train and dev").verdict == Verdict.FINE


def test_captions_need_not_differ_more_than_those_of_people() -> None:
    texts = ["w1 w2 w3", "w4 w5 w6"]
    photos = [photo._replace(captions=(texts[row % 2],)) for row, photo in enumerate(seen(healthy()).photos)]
    evidence = replace(saying(texts * 20)(healthy()), sample=Sample(photos, [b""] * PHOTOS))
    assert not {"distinct captions", "commonest caption"} & named(evidence)


@pytest.mark.parametrize(
    ("bounds", "verdicts"),
    [
        (Bounds(5, 20), {5.0: "fine", 5.1: "look", 20.0: "look", 20.1: "wrong", float("nan"): "wrong"}),
        (Bounds(30, 10, low_is_bad=True), {30.0: "fine", 29.9: "look", 10.0: "look", 9.9: "wrong"}),
        (Bounds(0, float("inf")), {0.0: "fine", 1e9: "look", float("nan"): "wrong"}),
    ],
)
def test_a_bound_itself_is_still_the_better_verdict(bounds: Bounds, verdicts: dict[float, str]) -> None:
    assert {value: str(bounds.verdict(value)) for value in verdicts} == verdicts


def test_findings_are_plain_json_even_of_what_is_no_number() -> None:
    evidence = ILLNESSES["features that are no numbers"][0](healthy())
    found = [finding.to_json() for finding in judged(evidence)]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
