"""What the command prints: alt text, standard input, addresses, progress, and nothing of the engine's own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from model.library.names import printable, text_of
from model.library.photos import ReadPhoto, read_photo
from model.library.pipeline import AHEAD, BATCH, Pipeline
from model.library.texts import alt_text, subjects
from tests.model.library.conftest import ROOT, Call, command, make_photos

if TYPE_CHECKING:
    from model.library.pipeline import Predict


@pytest.mark.parametrize(
    ("caption", "alt"),
    [
        ("a dog runs", "A dog runs."),
        ("two men & a 'dog' <b>", "Two men &amp; a &#x27;dog&#x27; &lt;b&gt;."),
        ("what is it ?", "What is it ?"),
        ("", ""),
    ],
)
def test_alt_text_is_a_sentence_of_html(caption: str, alt: str) -> None:
    assert alt_text(caption) == alt


def test_subjects_are_the_probable_classes_in_words() -> None:
    classes = [{"label": "golden_retriever", "probability": 0.6}, {"label": "tabby", "probability": 0.3}]
    assert subjects(classes, 0.3) == ["golden retriever", "tabby"]
    assert subjects(classes, 0.31) == ["golden retriever"]


def test_a_name_is_shown_on_one_line_and_does_nothing_to_a_terminal() -> None:
    for plain in ("plain кириллица.jpg", "Screenshot at 3.14\u202fPM.png", "\U0001f468\u200d\U0001f469.jpg"):
        assert printable(plain) == plain
    assert printable("a\nb\tc\x1b[0m\u2028d\u202egpj\udcff") == "a\\nb\\tc\\x1b[0m\\u2028d\\u202egpj\\xff"


def test_a_name_in_a_file_stays_as_it_is_but_for_bytes_that_are_no_text() -> None:
    for text in ("кириллица.jpg", "line\nbreak\x1b.jpg", "\u202f\u200d.png"):
        assert text_of(text) == text
    assert text_of("latin-\udce9.jpg") == "latin-\\xe9.jpg"


def test_alt_text_alone_or_behind_names(library: Path, call: Call) -> None:
    one = call(library / "photo0000.jpg", "--alt")
    assert (one.returncode, one.stderr, one.stdout.count("\n")) == (0, "", 1)
    assert one.stdout[0].isupper()
    assert one.stdout.endswith(".\n")
    many = call(library, "--alt")
    lines = [line.split("\t") for line in many.stdout.splitlines()]
    assert len(lines) == 8
    assert [str(library / "photo0000.jpg"), one.stdout.strip()] in lines
    assert many.stderr == "left out: 1 .mov\n"


def test_one_photo_comes_from_standard_input(library: Path, toy_bundle: Path) -> None:
    photo = library / "photo0000.jpg"
    with photo.open("rb") as file:
        result = subprocess.run(
            command(toy_bundle, "-", photo, "--json"), stdin=file, capture_output=True, text=True, cwd=ROOT, check=True
        )
    read, named = map(json.loads, result.stdout.splitlines())
    assert (read["file"], named["file"]) == ("-", str(photo))
    assert read["captions"] == named["captions"]


def test_an_address_is_refused_and_the_others_are_done(library: Path, call: Call) -> None:
    result = call("https://example.org/a.jpg", library / "photo0000.jpg", "--alt")
    assert result.returncode == 1
    assert result.stderr.startswith(
        "https://example.org/a.jpg: expected a file, received an address; nothing is fetched"
    )
    assert "1 of 2 photos failed" in result.stderr
    assert result.stdout.count("\n") == 1


def test_a_photo_above_the_limit_of_pixels_fails(library: Path, call: Call) -> None:
    result = call(library / "photo0000.jpg", "--max-pixels", "100")
    assert (result.returncode, result.stdout) == (1, "")
    assert "expected at most 100 pixels" in result.stderr


def test_options_that_do_not_fit_end_with_two(library: Path, call: Call) -> None:
    for options in (("--write", "csv"), ("--json", "--alt"), ("--alt", "--write", "txt"), ("--captions", "0")):
        result = call(library, *options)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith("Usage: ")


def test_a_table_in_parquet_without_its_library_is_refused_with_what_to_install(library: Path) -> None:
    program = "import sys; sys.modules['pyarrow'] = None; from model.cli import main; main()"
    line = [sys.executable, "-c", program, str(library), "--write", "parquet", "--out", str(library / "t.parquet")]
    result = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 2
    assert "pip install 'show-and-tell-server[parquet]'" in result.stderr


def test_photos_stay_in_order_and_few_are_held(predict: "Predict", tmp_path: Path) -> None:
    paths = [str(path) for path in make_photos(tmp_path / "many", 150)]
    paths[40:40] = ["missing.jpg"] * 20
    begun = 0
    held: list[int] = []

    def read(path: str) -> ReadPhoto:
        nonlocal begun
        begun += 1
        return read_photo(path, max_pixels=1000)

    done = 0
    seen: list[str] = []
    for batch in Pipeline(read, predict, 2).run(paths):
        held.append(begun - done)
        done += len(batch)
        seen += [captioned.photo.path for captioned in batch]
        assert all((captioned.prediction is None) == bool(captioned.photo.error) for captioned in batch)
    assert seen == paths
    assert max(held) <= (AHEAD + 2) * BATCH


def test_batches_say_what_single_photos_say(library: Path, predict: "Predict") -> None:
    paths = [str(path) for path in sorted(library.glob("*.jpg"))]
    batches = Pipeline(lambda path: read_photo(path, max_pixels=1000), predict, 2).run(paths)
    together = [captioned.prediction for batch in batches for captioned in batch]
    for path, prediction in zip(paths, together, strict=True):
        pixels = read_photo(path, max_pixels=1000).pixels
        assert pixels is not None
        (alone,) = predict(np.stack([pixels]))
        assert prediction is not None
        assert prediction.captions[0].text == alone.captions[0].text
