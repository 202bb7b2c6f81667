"""The page that explains a photo: whole, harmless, readable without sight, and written by the command."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from model.captioner import Caption, ClassPrediction, Prediction, Word
from model.cli import main
from model.explained_page import explained_page
from model.explaining import Explanation

HOSTILE = "\"><script>alert('x')</script><img src=https://example.com/x.png>&amp;"


class Page(HTMLParser):
    """A parsed page: its elements with their attributes, and its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def prediction(text: str = "dog") -> Prediction:
    left = np.zeros((2, 14, 14), np.float32)
    left[:, :, :4] = 1
    return Prediction(
        (Caption(f"a {text}", -2.0, (Word("a", 0.9), Word(text, 0.25)), -1.0),),
        (ClassPrediction("n1", f"big_{text}", 0.5),),
        0.1,
        0.1,
        Explanation((left,), -left[:1], 0.1),
    )


def page_of(name: str = "photo.jpg", text: str = "dog", size: tuple[int, int] = (640, 320)) -> Page:
    pixels = np.random.default_rng(1).integers(0, 256, (224, 224, 3), np.uint8)
    return Page(explained_page(name, pixels, size, prediction(text), "toy 1"))


def test_hostile_names_words_and_classes_are_text() -> None:
    page = page_of(HOSTILE, HOSTILE)
    assert not page.all("script")
    assert not page.all("img")
    assert any(HOSTILE in text for text in page.texts)
    assert any(HOSTILE in (attributes.get("aria-label") or "") for attributes in page.all("svg"))


def test_it_loads_nothing_from_elsewhere() -> None:
    page = page_of()
    sources = [
        value for _, attributes in page.elements for name, value in attributes.items() if name in ("href", "src")
    ]
    assert sources
    assert all(value and value.startswith(("data:image/", "#")) for value in sources)
    policy = next(item["content"] for item in page.all("meta") if item.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_every_word_and_class_has_its_picture_and_says_where_it_lies() -> None:
    page = page_of()
    pictures = [attributes["aria-label"] for attributes in page.all("svg") if attributes.get("role") == "img"]
    assert pictures == [
        "The photo",
        "The photo, bright where it spoke for “a”: mostly the left half",
        "The photo, bright where it spoke for “dog”: mostly the left half",
        "The photo, bright where it spoke for “big dog”: no place speaks for it",
    ]
    assert "25%; mostly the left half" in page.texts
    masks = [attributes["id"] for attributes in page.all("mask")]
    assert len(set(masks)) == 3
    assert [a["mask"] for a in page.all("use") if "mask" in a] == [f"url(#{mask})" for mask in masks]


@pytest.mark.parametrize(("size", "box"), [((640, 320), "320 160"), ((30, 60), "160 320"), ((1, 5000), "1 320")])
def test_the_photo_keeps_its_shape(size: tuple[int, int], box: str) -> None:
    assert {attributes["viewbox"] for attributes in page_of(size=size).all("svg") if "viewbox" in attributes} == {
        f"0 0 {box}"
    }


def test_a_prediction_without_maps_is_refused() -> None:
    bare = Prediction((), (), 0.1, 0.1)
    with pytest.raises(ValueError, match="predict with explain"):
        explained_page("photo.jpg", np.zeros((224, 224, 3), np.uint8), (1, 1), bare, "toy 1")


def showtell(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def photo(tmp_path: Path, drawing: Image.Image) -> Path:
    path = tmp_path / "<b> & photo.jpg"
    drawing.save(path)
    return path


def test_the_command_writes_the_page_and_prints_as_ever(photo: Path, tmp_path: Path, toy_bundle: Path) -> None:
    page = tmp_path / "out" / "page.html"
    options = ("--captions", "2", "--bundle", toy_bundle)
    explained = showtell(photo, *options, "--explain", page)
    assert (explained.exit_code, explained.stderr) == (0, "")
    assert explained.stdout == showtell(photo, *options).stdout
    parsed = Page(page.read_text(encoding="utf-8"))
    captions = [line.strip().partition("  (p=")[0] for line in explained.stdout.splitlines()[1:3]]
    assert [text for text in captions if text not in parsed.texts] == []
    assert photo.name in parsed.texts
    assert str(tmp_path) not in page.read_text(encoding="utf-8")
    words = sum(len(text.split()) for text in captions)
    assert len(parsed.all("mask")) == words + 3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--write", "txt"], "--explain: expected no --write"),
        (["--watch"], "--explain: expected no --write, --exif or --watch"),
        (["other.jpg"], "--explain: expected one photo, received 2"),
    ],
)
def test_more_than_one_photo_is_not_explained(
    photo: Path, tmp_path: Path, toy_bundle: Path, more: list[str], message: str
) -> None:
    result = showtell(photo, *more, "--bundle", toy_bundle, "--explain", tmp_path / "page.html")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "page.html").exists()


def test_a_page_that_cannot_be_written_is_one_line(photo: Path, tmp_path: Path, toy_bundle: Path) -> None:
    (tmp_path / "file").write_text("")
    result = showtell(photo, "--bundle", toy_bundle, "--explain", tmp_path / "file" / "page.html")
    assert result.exit_code == 1
    assert re.search(r"page\.html: cannot be written: .*; name another file by --explain", result.stderr)


def test_a_photo_that_fails_has_no_page(tmp_path: Path, toy_bundle: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(os.urandom(100))
    result = showtell(broken, "--bundle", toy_bundle, "--explain", tmp_path / "page.html")
    assert result.exit_code == 1
    assert not (tmp_path / "page.html").exists()
