"""`showtell`: captions of files, folders and patterns, and what is in a bundle."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from model.bundle import Bundle
from model.captioner import Captioner
from model.cli import main
from model.formats.known import FORMATS_IN_WORDS
from model.image import read_image
from model.options import SearchOptions


def showtell(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def photos(tmp_path: Path, drawing: Image.Image) -> Path:
    """Returns a folder with two photos, one more in a folder inside, and a text file."""
    folder = tmp_path / "photos"
    (folder / "inside").mkdir(parents=True)
    drawing.save(folder / "one.jpg")
    drawing.rotate(90).save(folder / "two.PNG")
    drawing.convert("L").save(folder / "inside" / "three.webp")
    (folder / "notes.txt").write_text("no photo")
    return folder


def test_a_photo_is_captioned_by_default(photos: Path, toy: Bundle, toy_bundle: Path) -> None:
    result = showtell(photos / "one.jpg", "--bundle", toy_bundle, "--classes", "2")
    assert (result.exit_code, result.stderr) == (0, "")
    name, caption, classes = result.stdout.splitlines()
    assert name == str(photos / "one.jpg")
    text, probability = caption.strip().split("  (p=")
    assert set(text.split()) <= set(toy.vocabulary.words)
    assert 0 < float(probability.removesuffix(")")) < 1
    assert classes.startswith("  classes: class ")
    assert classes.count("%") == 2


def test_json_is_an_object_a_line_for_folders_patterns_and_files(photos: Path, toy_bundle: Path) -> None:
    options = ("--captions", "4", "--classes", "0", "--json", "--bundle", toy_bundle)
    result = showtell(photos, photos / "*.jpg", photos / "two.PNG", *options)
    assert (result.exit_code, result.stderr) == (0, "left out: 1 .txt\n")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    in_folder = [photos / "inside" / "three.webp", photos / "one.jpg", photos / "two.PNG"]
    assert [answer["file"] for answer in answers] == [
        str(path) for path in [*in_folder, photos / "one.jpg", photos / "two.PNG"]
    ]
    for answer in answers:
        assert answer.keys() == {"file", "captions", "classes"}
        assert len(answer["captions"]) == 4
        assert answer["classes"] == []
        for caption in answer["captions"]:
            assert caption.keys() == {"text", "log_probability", "probability", "score", "words"}
            assert caption["text"] == " ".join(word["text"] for word in caption["words"])
            assert all(0 < word["probability"] <= 1 for word in caption["words"])
    assert answers[1]["captions"] == answers[3]["captions"]


def test_what_fails_is_named_on_its_own_line_and_the_others_are_done(photos: Path, toy_bundle: Path) -> None:
    (photos / "broken.jpg").write_bytes((photos / "one.jpg").read_bytes()[:-200])
    given = ("missing.jpg", photos / "nothing-*.png", photos / "notes.txt", photos / "broken.jpg", photos / "inside")
    result = showtell(*given, photos / "one.jpg", "--bundle", toy_bundle, "--classes", "0")
    assert result.exit_code == 1
    captioned = [line for line in result.stdout.splitlines() if not line.startswith("  ")]
    assert captioned == [str(photos / "inside" / "three.webp"), str(photos / "one.jpg")]
    *failed, total = result.stderr.splitlines()
    assert failed[0] == "missing.jpg: No such file or directory"
    assert failed[1] == f"{photos / 'nothing-*.png'}: No such file or directory"
    assert failed[2].startswith(f"{photos / 'notes.txt'}: expected a {FORMATS_IN_WORDS} image")
    assert failed[3].startswith(f"{photos / 'broken.jpg'}: expected a whole JPEG file")
    assert len(failed) == 4
    assert total == "4 of 6 photos failed"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are no text")
def test_a_file_name_that_is_no_text_stops_nothing(photos: Path, toy_bundle: Path) -> None:
    odd = photos / os.fsdecode(b"odd\xff.png")
    shutil.copy(photos / "two.PNG", odd)
    broken = photos / os.fsdecode(b"broken\xff.png")
    broken.write_bytes(b"")
    result = showtell(broken, odd, photos / "one.jpg", "--bundle", toy_bundle, "--classes", "0")
    assert result.exit_code == 1
    assert [Path(line).suffix for line in result.stdout.splitlines() if not line.startswith("  ")] == [".png", ".jpg"]
    assert "expected a JPEG" in result.stderr
    assert "1 of 3 photos failed" in result.stderr


def test_a_damaged_bundle_is_one_line_and_nothing_is_captioned(photos: Path, toy_bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(toy_bundle, tmp_path / "copy"))
    (copy / "weights.safetensors").write_bytes(b"damaged")
    result = showtell(photos / "one.jpg", "--bundle", copy)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {copy / 'weights.safetensors'}: expected ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--captions 3 --beam-size 2", "captions: expected 1 to 2, received 3"),
        ("--min-words 7", "min_words: expected at most 6, the most words, received 7"),
        ("--seed 1", "seed: expected sample with it"),
        ("--sample --beam-size 2", "beam_size: expected none with sample"),
    ],
)
def test_options_that_do_not_fit_each_other_are_a_usage_error(
    photos: Path, toy_bundle: Path, options: str, words: str
) -> None:
    result = showtell(photos / "one.jpg", *options.split(), "--bundle", toy_bundle)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_flags_of_the_search_say_what_the_search_says(photos: Path, toy: Bundle, toy_bundle: Path) -> None:
    pixels = read_image((photos / "one.jpg").read_bytes()).pixels[None]
    captioner = Captioner.load(toy_bundle)
    asked = SearchOptions(sample=True, temperature=2.0, seed=4, min_words=2)
    (expected,) = captioner.predict(pixels, search=asked.search(toy.config.search, 5), captions=5, classes=0)
    flags = "--captions 5 --classes 0 --sample --temperature 2 --seed 4 --min-words 2 --json"
    for _ in range(2):
        result = showtell(photos / "one.jpg", *flags.split(), "--bundle", toy_bundle)
        captions = json.loads(result.stdout)["captions"]
        assert [caption["text"] for caption in captions] == [caption.text for caption in expected.captions]
    wide = showtell(photos / "one.jpg", "--captions", "9", "--diverse-groups", "3", "--json", "--bundle", toy_bundle)
    assert len(json.loads(wide.stdout)["captions"]) > 3


@pytest.mark.parametrize(
    ("option", "value"), [("--captions", "0"), ("--captions", "11"), ("--beam-size", "0"), ("--classes", "21")]
)
def test_an_option_out_of_range_is_a_usage_error_that_names_it(photos: Path, option: str, value: str) -> None:
    result = showtell(photos / "one.jpg", option, value)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Invalid value for '{option}': {value} is not in the range" in result.stderr


def test_info_says_what_is_in_a_bundle(toy: Bundle, toy_bundle: Path) -> None:
    result = showtell("info", toy_bundle)
    assert (result.exit_code, result.stderr) == (0, "")
    parameters = sum(value.size for value in toy.weights.values())
    assert result.stdout.startswith(f"toy 1: verified, {parameters:,} parameters, ")
    for line in (
        "encoder",
        "  widths: (0.03, 0.03, 0.03, 0.03, 0.03)",
        "decoder",
        "  vocabulary_size: 15",
        "search",
        "  max_words: 6",
        "scores",
    ):
        assert line in result.stdout.splitlines()
    assert '"BLEU-4": 0.0' in result.stdout


@pytest.mark.parametrize(
    "name", ["config.json", "vocabulary.txt", "classes.json", "weights.safetensors", "manifest.json"]
)
def test_info_names_the_damaged_file(toy_bundle: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(toy_bundle, tmp_path / "copy"))
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 0xFF
    (copy / name).write_bytes(data)
    result = showtell("info", copy)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {copy / name}: expected ")
    assert result.stderr.count("\n") == 1


def test_info_about_nothing_is_one_line(tmp_path: Path) -> None:
    result = showtell("info", tmp_path)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {tmp_path}: expected a bundle directory with manifest.json, found none; " + (
        "check the path\n"
    )


def test_help_shows_examples_and_every_option() -> None:
    top = showtell("--help")
    of_caption = showtell("caption", "--help")
    assert (top.exit_code, of_caption.exit_code) == (0, 0)
    assert "Examples:\n    showtell photo.jpg\n" in top.stdout
    assert "showtell info model/bundles/default" in top.stdout
    for option in ("--bundle", "--captions", "--beam-size", "--classes", "--json"):
        assert option in of_caption.stdout


def test_no_argument_shows_the_help() -> None:
    result = showtell()
    assert "Examples:" in result.output


def test_the_version_is_that_of_the_distribution() -> None:
    result = showtell("--version")
    assert result.exit_code == 0
    assert "0.1.0" in result.stdout


def test_a_folder_without_photos_is_an_error(toy_bundle: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--bundle", str(toy_bundle), str(tmp_path)])
    assert result.exit_code == 1
    assert "expected photos" in result.output
