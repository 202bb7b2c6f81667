import os
import shutil
import time
import zipfile
from pathlib import Path

import pytest

from model.errors import DataError
from training.data.language import Language
from training.scoring.captions import caption_scores, choose_tokenizer, compare_captions
from training.scoring.java import PARSER, SPICE_DIRECTORY, meteor_of, meteor_scores, spice_scores

REFERENCES = {
    "a.jpg": ["A dog runs through the grass .", "The dog is running outside ."],
    "b.jpg": ["Two men play a guitar on a stage .", "A band plays ."],
    "c.jpg": ["A child in a red hat jumps into water .", "Kid jumping ."],
}
FIRST = {name: texts[0] for name, texts in REFERENCES.items()}
TRUTH = {"a": ["a dog runs"]}
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="METEOR and the Penn Treebank tokenizer need Java")


@pytest.fixture
def without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hides Java, as on a machine that has none; METEOR takes seconds to start."""
    monkeypatch.setenv("PATH", str(tmp_path))


def test_repeating_a_reference_scores_full_marks() -> None:
    scores = caption_scores(REFERENCES, FIRST, tokenizer="showtell")
    assert scores["BLEU-1"] == scores["BLEU-4"] == scores["ROUGE-L"] == 100.0
    assert scores["distinct captions"] == 3


def test_the_same_caption_for_every_image_scores_little() -> None:
    scores = caption_scores(REFERENCES, dict.fromkeys(REFERENCES, "a dog runs"), tokenizer="showtell")
    assert scores["distinct captions"] == 1
    assert scores["BLEU-4"] < 5
    assert 0 < scores["BLEU-1"] < 60


def test_bleu_is_the_one_of_the_paper() -> None:
    # 3 of 4 words match and both lengths are 4: precision 3/4, no brevity penalty.
    scores = caption_scores({"a": ["one two three four"]}, {"a": "one two three five"}, tokenizer="showtell")
    assert scores["BLEU-1"] == pytest.approx(75.0)
    # Of 3 pairs 2 match: sqrt(3/4 * 2/3).
    assert scores["BLEU-2"] == pytest.approx(70.71, abs=0.01)


def test_a_language_without_spaces_is_scored_by_its_words() -> None:
    # Of the 6 words 5 match; without ICU the sentence would be one word, and the score 0.
    references = {"a": ["两只狗在草地上"]}
    scores = caption_scores(references, {"a": "两只猫在草地上"}, tokenizer="showtell", language=Language("zh", "icu"))
    assert scores["BLEU-1"] == pytest.approx(83.33)


@pytest.mark.parametrize("language", [Language("de"), Language("zh", "icu"), Language("und")])
def test_what_is_made_for_english_is_refused_or_left_out_for_other_languages(language: Language) -> None:
    with pytest.raises(
        DataError, match=f"expected showtell for captions whose language is {language.tag}, received ptb"
    ):
        compare_captions(REFERENCES, {"same": FIRST}, tokenizer="ptb", language=language)
    assert choose_tokenizer(None, language) == "showtell"
    results, left_out = compare_captions(
        REFERENCES, {"same": FIRST}, tokenizer="showtell", language=language, spice=True
    )
    assert left_out.keys() == {"METEOR", "SPICE"}
    assert all(f"made for English, and the captions' language is {language.tag}" in why for why in left_out.values())
    assert list(results["same"].scores)[:4] == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"]


def test_captions_of_other_images_are_refused() -> None:
    with pytest.raises(DataError, match="3 images"):
        caption_scores(REFERENCES, {"a.jpg": "a dog"}, tokenizer="showtell")


@needs_java
def test_both_tokenizers_agree_on_plain_sentences() -> None:
    captions = {"a.jpg": "a dog runs outside", "b.jpg": "a band on a stage", "c.jpg": "a kid jumps"}
    ptb, ours = (caption_scores(REFERENCES, captions, tokenizer=name) for name in ("ptb", "showtell"))
    assert ptb == ours


@pytest.mark.usefixtures("without_java")
def test_sets_of_captions_score_together_as_they_do_alone() -> None:
    # In another order than the references, which must not matter.
    sets = {1: dict(reversed(FIRST.items())), 3: dict.fromkeys(REFERENCES, "a dog runs")}
    results, _ = compare_captions(REFERENCES, sets, tokenizer="showtell")
    for size, captions in sets.items():
        alone = caption_scores(REFERENCES, captions, tokenizer="showtell")
        assert {name: results[size].scores[name] for name in alone} == alone


@pytest.mark.usefixtures("without_java")
def test_cider_of_the_images_averages_to_that_of_all() -> None:
    captions = FIRST | {"c.jpg": "two men"}
    results, _ = compare_captions(REFERENCES, {"ours": captions}, tokenizer="showtell")
    scores = results["ours"].scores
    ciders = results["ours"].ciders
    assert sum(ciders.values()) / len(ciders) == pytest.approx(scores["CIDEr"], abs=0.01)
    assert ciders["c.jpg"] < 1 < ciders["a.jpg"]


@needs_java
def test_meteor_of_identical_sentences_is_100_whatever_is_in_them() -> None:
    # METEOR's own separator, letters beyond ASCII, and no word at all.
    references = {**REFERENCES, "d.jpg": ["Ein ||| Käfer läuft .", ""], "e.jpg": ["SCORE", "EVAL ||| 1"]}
    same = {name: texts[0] for name, texts in references.items()}
    sets = {"same": same, "empty": dict.fromkeys(references, "")}
    results, left_out = compare_captions(references, sets, tokenizer="ptb")
    assert left_out == {}
    assert results["same"].scores["METEOR"] == 100.0
    assert results["empty"].scores["METEOR"] < 10
    assert list(results["same"].scores)[3:6] == ["BLEU-4", "METEOR", "ROUGE-L"]


@needs_java
def test_meteor_of_parts_is_that_of_its_program() -> None:
    truth = {name: [text.lower() for text in texts] for name, texts in REFERENCES.items()}
    truth |= {"d": ["a boy swims in a pond near a car"], "e": ["a dog"], "f": ["the same word"]}
    ours = {"a.jpg": ["a dog runs in the grass"], "b.jpg": ["a man man plays guitars"], "c.jpg": ["a dog"],
            "d": ["the kid is swimming in the lake with an automobile"], "e": [""], "f": ["the same word"]}  # fmt: skip
    (found,) = meteor_scores(truth, {"ours": ours}).values()
    assert found.parts is not None
    assert meteor_of(found.parts).tolist() == pytest.approx([found.images[name] for name in truth], abs=1e-9)
    assert meteor_of(found.parts.sum(axis=0)) == pytest.approx(found.score, abs=0.006)
    assert 0 < found.images["d"] < found.images["f"] == 100.0


def fake_java(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Puts a program named java in front of all others."""
    program = folder / "java"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.usefixtures("without_java")
def test_meteor_is_left_out_with_the_reason_where_there_is_no_java() -> None:
    results, left_out = compare_captions(REFERENCES, {"same": FIRST}, tokenizer="showtell")
    assert "METEOR" not in results["same"].scores
    assert "install Java" in left_out["METEOR"]


def test_meteor_is_left_out_with_what_a_failing_java_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_java(monkeypatch, tmp_path, "echo 'Could not reserve enough space' >&2; exit 1")
    results, left_out = compare_captions(REFERENCES, {"same": FIRST}, tokenizer="showtell")
    assert results["same"].scores["CIDEr"] > 0
    assert "Could not reserve enough space" in left_out["METEOR"]


def test_a_java_that_hangs_is_ended_with_all_that_it_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # It floods its error pipe, and what it starts keeps its output open.
    fake_java(monkeypatch, tmp_path, f"yes error | head -c 1000000 >&2; sleep 300 & echo $! > {tmp_path}/pid; wait")
    started = time.monotonic()
    with pytest.raises(DataError, match="within 2 s"):
        meteor_scores(TRUTH, {"ours": TRUTH}, limit_seconds=2)
    assert time.monotonic() - started < 30
    left = Path("/proc", (tmp_path / "pid").read_text().strip(), "cmdline")
    assert not left.exists() or left.read_bytes() == b""  # gone, or waiting for whoever adopted it


def test_a_failing_java_tokenizer_is_an_error_that_names_the_other_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_java(monkeypatch, tmp_path, "exit 1")
    with pytest.raises(DataError, match="tokenizer showtell"):
        caption_scores(REFERENCES, FIRST, tokenizer="ptb")


SPICE_PROGRAM = """#!/usr/bin/python3
import json, sys
asked = json.load(open(sys.argv[4]))
found = {item["image_id"]: float(item["test"] in item["refs"]) for item in asked}
json.dump([{"image_id": name, "scores": {"All": {"f": f}}} for name, f in found.items()], open(sys.argv[6], "w"))
"""
"""A program that answers in SPICE's form: 1 for a caption that is a reference, else 0."""


@pytest.fixture
def parser(tmp_path: Path) -> Path:
    """Returns a directory with files in the places of SPICE's parser."""
    for name in PARSER:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_spice_averages_what_its_program_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, parser: Path) -> None:
    fake_java(monkeypatch, tmp_path, "")
    (tmp_path / "java").write_text(SPICE_PROGRAM)
    truth = {"a": ["a dog", "one dog"], "b": ["a cat"]}
    sets = {"good": {"a": ["one dog"], "b": ["a cat"]}, "half": {"a": ["a dog"], "b": ["a bus"]}}
    found = spice_scores(truth, sets, directory=parser)
    assert found["good"] == (100.0, {"a": 100.0, "b": 100.0}, None)
    assert found["half"] == (50.0, {"a": 100.0, "b": 0.0}, None)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'UnsupportedClassVersionError' >&2; exit 1", "received: UnsupportedClassVersionError"),
        (
            "printf 'Error: no memory\\n\\tat a.B.c(B.java:1)\\n\\t... 3 more\\n' >&2; exit 1",
            "received: Error: no memory",
        ),
        ("exit 0", "received: nothing"),
        ("sleep 300", "within 1 s"),
    ],
)
def test_spice_that_fails_says_what_its_program_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, parser: Path, script: str, words: str
) -> None:
    fake_java(monkeypatch, tmp_path, script)
    with pytest.raises(DataError, match=words):
        spice_scores(TRUTH, {"ours": TRUTH}, directory=parser, limit_seconds=1)


def test_spice_is_left_out_with_the_reason_where_its_parser_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_java(monkeypatch, tmp_path, "exit 1")
    program = "stanford-corenlp-3.6.0.jar"
    models = "stanford-corenlp-3.6.0-models.jar"
    with pytest.raises(
        DataError, match=rf"Stanford CoreNLP 3\.6\.0 in .*lib, found no {program} and no {models}; take them"
    ):
        spice_scores(TRUTH, {"ours": TRUTH}, directory=tmp_path)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / program).touch()
    with pytest.raises(DataError, match=rf"lib, found no {models}; take it out of http://nlp\.stanford\.edu/\S+\.zip"):
        spice_scores(TRUTH, {"ours": TRUTH}, directory=tmp_path)


@needs_java
def test_spice_s_own_program_runs_as_far_as_it_has_a_parser(tmp_path: Path) -> None:
    shutil.copytree(SPICE_DIRECTORY, tmp_path / "spice")
    for name in PARSER:
        with zipfile.ZipFile(tmp_path / "spice" / name, "w") as empty:
            empty.writestr("nothing", "")
    expected = r"SPICE's Java program .* received: Caused by: java\.lang\.ClassNotFoundException: edu\.stanford\.nlp\."
    with pytest.raises(DataError, match=expected):
        spice_scores(TRUTH, {"ours": TRUTH}, directory=tmp_path / "spice")


@needs_java
@pytest.mark.skipif(
    not all((SPICE_DIRECTORY / name).is_file() for name in PARSER), reason="SPICE needs Stanford CoreNLP 3.6.0"
)
def test_spice_by_its_own_program_tells_a_reference_from_another_thing() -> None:
    truth = {"a": ["a brown dog runs"], "b": ["a red car"]}
    found = spice_scores(truth, {"ours": {"a": ["a brown dog runs"], "b": ["two men"]}})["ours"]
    assert found.images == {"a": 100.0, "b": 0.0}
