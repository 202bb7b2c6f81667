"""Scores of captions files: their differences, how varied they are, and the command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from pycocoevalcap.bleu.bleu import Bleu

from model.errors import DataError
from training.commands.score_files import score
from training.scoring.bootstrap import Difference, Scored, bleu, bleu_parts, paired_bootstrap
from training.scoring.files import write_captions
from training.scoring.score import score_files, variety

WORDS = ("a", "dog", "cat", "runs", "red", "in", "the", "grass")
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hides Java: METEOR takes seconds to start, and has tests of its own."""
    monkeypatch.setenv("PATH", str(tmp_path))


def sentences(seed: int, count: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(3, 9))) for _ in range(count)]


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """Returns a file with two references of each of 60 images."""
    path = tmp_path / "references.jsonl"
    pairs = zip(sentences(1, 60), sentences(2, 60), strict=True)
    lines = [json.dumps({"image": f"{number}.jpg", "captions": pair}) for number, pair in enumerate(pairs)]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Returns a function that writes captions: of each image the first reference with so many words replaced."""

    def make(name: str, replaced: int, seed: int = 5) -> Path:
        random = np.random.default_rng(seed)
        captions = {}
        for number, text in enumerate(sentences(1, 60)):
            words = text.split()
            for place in random.permutation(len(words))[:replaced]:
                words[place] = str(random.choice(WORDS))
            captions[f"{number}.jpg"] = " ".join(words)
        write_captions(tmp_path / name, captions)
        return tmp_path / name

    return make


def test_bleu_of_parts_is_pycocoevalcap_s() -> None:
    truth = {
        str(number): [one, two]
        for number, (one, two) in enumerate(zip(sentences(1, 30), sentences(2, 30), strict=True))
    }
    ours = {str(number): [text] for number, text in enumerate([*sentences(3, 28), "", "dog"])}
    expected, _ = Bleu(4).compute_score(truth, ours, verbose=0)
    assert bleu(bleu_parts(truth, ours).sum(axis=0)).tolist() == pytest.approx([100 * value for value in expected])


def of_values(values: Any) -> Scored:
    array = np.asarray(values, np.float64)
    return Scored(np.ones((len(array), 10)), None, {"CIDEr": array, "other": array})


def test_an_interval_is_about_two_standard_errors_of_the_mean_wide() -> None:
    random = np.random.default_rng(1)
    first = random.normal(50, 20, 400)
    difference = random.normal(1.0, 5.0, 400)
    found = paired_bootstrap(of_values(first), of_values(first + difference), [range(400)], samples=2000, seed=0)
    error = difference.std() / 20
    assert found["CIDEr"].value == pytest.approx(difference.mean())
    assert found["CIDEr"].low == pytest.approx(difference.mean() - 1.96 * error, abs=0.1 * error)
    assert found["CIDEr"].high == pytest.approx(difference.mean() + 1.96 * error, abs=0.1 * error)
    assert found["CIDEr"].verdict == "higher"
    assert found["BLEU-4"] == Difference(0.0, 0.0, 0.0)


def test_differences_without_a_cause_are_rarely_told_from_chance() -> None:
    random = np.random.default_rng(2)
    verdicts = [
        paired_bootstrap(of_values(random.normal(size=50)), of_values(random.normal(size=50)), [range(50)],
                         samples=200, seed=seed)["other"].verdict
        for seed in range(60)
    ]  # fmt: skip
    assert verdicts.count("not told from chance") >= 51


def test_sources_count_alike_in_cider_and_are_drawn_apart() -> None:
    first = of_values([0.0] * 30 + [0.0] * 10)
    second = of_values([1.0] * 30 + [3.0] * 10)
    found = paired_bootstrap(first, second, [range(30), range(30, 40)], samples=100, seed=0)
    assert found["CIDEr"] == pytest.approx((2.0, 2.0, 2.0))
    assert found["other"] == pytest.approx((1.5, 1.5, 1.5))


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.1, 2, "higher"), (-2, -0.1, "lower"), (0, 1, "not told from chance")]
)
def test_the_verdict_follows_from_the_interval(low: float, high: float, verdict: str) -> None:
    assert Difference(1.0, low, high).verdict == verdict


def test_variety_is_counted_by_hand() -> None:
    found = variety({"a": ["a dog and a dog"], "b": ["the the"], "c": ["a cat"], "d": [""]})
    assert found == {
        "vocabulary used": 5,
        "words per caption": 2.25,
        "% with a 1-gram twice": 50.0,
        "% with a 2-gram twice": 25.0,
        "% with a 3-gram twice": 0.0,
    }


def test_differences_are_those_of_the_scores(references: Path, write: Write) -> None:
    files = [write("worse.json", 3), write("better.json", 1)]
    report = score_files(files, references, samples=200)
    worse, better = (report.files[str(file)] for file in files)
    for name, difference in report.differences.items():
        assert difference.value == pytest.approx(better[name] - worse[name], abs=0.011), name
        assert difference.low <= difference.value <= difference.high
    assert report.differences["CIDEr"].verdict == report.differences["BLEU-4"].verdict == "higher"
    assert list(worse)[:9] == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr", "distinct captions",
                               "vocabulary used", "words per caption"]  # fmt: skip
    swapped = score_files(files[::-1], references, samples=200)
    assert swapped.differences["CIDEr"].value == pytest.approx(-report.differences["CIDEr"].value)
    assert swapped.differences["CIDEr"].verdict == "lower"


def test_captions_that_differ_by_chance_are_not_told_apart(references: Path, write: Write) -> None:
    report = score_files([write("one.json", 2, seed=5), write("two.json", 2, seed=6)], references, samples=200)
    assert report.differences["CIDEr"].verdict == "not told from chance"


def test_the_command_prints_a_table_or_json(references: Path, write: Write) -> None:
    files = [str(write("worse.json", 3)), str(write("better.csv", 1))]
    result = CliRunner().invoke(score, [*files, "--references", str(references), "--samples", "100"])
    assert result.exit_code == 0, result.output
    rows = {line.split("  ")[1].strip(): line for line in result.stdout.splitlines() if line.startswith("  ")}
    assert {"BLEU-4", "CIDEr", "% with a 2-gram twice"} <= rows.keys()
    assert rows["CIDEr"].rstrip().endswith("higher")
    heads = next(line for line in result.stdout.splitlines() if "worse.json" in line).split()
    assert heads == ["worse.json", "better.csv", "difference", "95", "%", "interval"]
    assert "60 images, scores times 100, tokenizer showtell" in result.stdout
    assert "SPICE left out: expected the program java, found none; install Java 8 or newer for SPICE" in result.stdout
    told = json.loads(CliRunner().invoke(score, [*files, "--references", str(references), "--json"]).stdout)
    assert told["images"] == 60
    assert told["differences"]["CIDEr"]["verdict"] == "higher"
    assert told["left_out"].keys() == {"METEOR", "SPICE"}
    (alone,) = json.loads(CliRunner().invoke(score, [files[0], "--references", str(references), "--json"]).stdout)[
        "files"
    ]
    assert alone == files[0]


def test_what_cannot_be_compared_is_one_line(references: Path, write: Write, tmp_path: Path) -> None:
    one = str(write("one.json", 1))
    asked = ["--references", str(references)]
    result = CliRunner().invoke(score, [one, one, one, *asked])
    assert (result.exit_code, "received 3" in result.stderr) == (2, True)
    result = CliRunner().invoke(score, [one, one, *asked])
    assert result.exit_code == 1
    assert "expected two different files" in result.stderr
    write_captions(tmp_path / "few.json", {"0.jpg": "a dog", "x.jpg": "a cat"})
    result = CliRunner().invoke(score, [str(tmp_path / "few.json"), *asked])
    assert result.exit_code == 1
    assert "1 captions are of images without references (x.jpg) and 59 images" in result.stderr
    assert CliRunner().invoke(score, [str(tmp_path / "few.json"), *asked, "--common"]).exit_code == 0
    with pytest.raises(DataError, match="tokenizer"):
        score_files([Path(one)], references, tokenizer="ptb")


@pytest.mark.parametrize(
    ("caption", "options", "told"),
    [
        (
            "ein Hund läuft über die Straße",
            [],
            "METEOR left out: it is made for English, and the captions' language is und",
        ),
        ("ein Hund läuft über die Straße", ["--language", "de"], "language is de"),
        ("两只狗在草地上", [], "language is und"),
        ("a dog runs", [], "install Java"),
    ],
)
def test_the_language_of_files_is_found_out_or_said(
    tmp_path: Path, caption: str, options: list[str], told: str
) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text(json.dumps({"image": "a.jpg", "caption": caption}), encoding="utf-8")
    result = CliRunner().invoke(score, [str(path), "--references", str(path), *options])
    assert result.exit_code == 0, result.output
    assert told in result.stdout
    assert "100.00" in result.stdout
    refused = CliRunner().invoke(score, [str(path), "--references", str(path), *options, "--tokenizer", "ptb"])
    assert ("received ptb, which is made for English" in refused.stderr) == ("Java" not in told)
