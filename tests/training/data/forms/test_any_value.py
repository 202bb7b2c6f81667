"""Any value in any field gives records, or one clear line."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.errors import DataError
from tests.training.data.forms import made
from training.data.captioned import CaptionedImage
from training.data.forms.collect import read_captions

# On a busy machine, the first letters alone take longer than Hypothesis allows.
LENIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["a.jpg", "b.jpg"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TEXTS = st.text(max_size=20) | st.sampled_from(["a.jpg", "./a.jpg", "a dog", "train", "test", '"', "['a', 'b']", "nan"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("any")
    made.photos(folder, "a.jpg", "b.jpg")
    return folder


def holds(path: Path) -> None:
    """Checks that a source gives photos with captions or an error on one line."""
    images: list[CaptionedImage] = []
    message = ""
    try:
        images = read_captions(path, dev_fraction=0.5).images
    except DataError as error:
        message = str(error)
    assert len(message.splitlines()) == (0 if images else 1)
    for image in images:
        assert image.captions
        assert image.split in ("train", "dev", "test")
        assert image.name.encode()
        assert all(any(letter.isalpha() for letter in text) and text.encode() for text in image.captions)
    assert len({image.path.resolve() for image in images}) == len(images)


def write(folder: Path, name: str, value: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@settings(LENIENT, max_examples=150)
@given(st.lists(st.fixed_dictionaries({}, optional={"image": ANYTHING, "caption": ANYTHING, "split": ANYTHING})))
def test_json_arrays(folder: Path, rows: list[dict[str, Any]]) -> None:
    holds(write(folder, "rows.json", rows))


@settings(LENIENT, max_examples=100)
@given(st.lists(ANYTHING, max_size=5))
def test_json_lines(folder: Path, values: list[Any]) -> None:
    first = {"image": "a.jpg", "caption": "a dog"}
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(value)}\n" for value in (first, *values)), encoding="utf-8")
    holds(path)


@settings(LENIENT, max_examples=150)
@given(
    st.lists(st.fixed_dictionaries({"id": ANYTHING}, optional={"file_name": ANYTHING}) | ANYTHING, max_size=3),
    st.lists(st.fixed_dictionaries({"image_id": ANYTHING}, optional={"caption": ANYTHING}) | ANYTHING, max_size=4),
)
def test_coco(folder: Path, images: list[Any], annotations: list[Any]) -> None:
    holds(write(folder, "coco.json", {"images": images, "annotations": annotations}))


@settings(LENIENT, max_examples=150)
@given(
    st.lists(
        st.fixed_dictionaries({}, optional={
            "filename": ANYTHING, "filepath": ANYTHING, "split": ANYTHING, "sentences": ANYTHING,
        }) | ANYTHING,
        max_size=4,
    )
)  # fmt: skip
def test_karpathy(folder: Path, images: list[Any]) -> None:
    holds(write(folder, "karpathy.json", {"images": images}))


@settings(LENIENT, max_examples=150)
@given(st.lists(st.lists(TEXTS, min_size=1, max_size=4), max_size=6), st.sampled_from([",", ";", "\t", "|"]))
def test_tables_as_csv_writes_them(folder: Path, rows: list[list[str]], delimiter: str) -> None:
    path = folder / "rows.csv"
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([["image", "caption", "split"], *rows])
    holds(path)


@settings(LENIENT, max_examples=150)
@given(st.text() | st.binary() | st.lists(TEXTS).map("\n".join))
def test_files_of_anything(folder: Path, content: str | bytes) -> None:
    path = folder / "anything.csv"
    path.write_bytes(content.encode("utf-8", "replace") if isinstance(content, str) else content)
    holds(path)


@settings(LENIENT, max_examples=150)
@given(st.lists(TEXTS), st.binary(max_size=20))
def test_lines_behind_a_header(folder: Path, lines: list[str], more: bytes) -> None:
    path = folder / "lines.csv"
    path.write_bytes("\n".join(["image,caption", "a.jpg,a dog", *lines]).encode("utf-8", "replace") + more)
    holds(path)


@settings(LENIENT, max_examples=50)
@given(st.binary(max_size=3000), st.integers(0, 3000))
def test_damaged_tars(folder: Path, more: bytes, cut: int) -> None:
    path = made.tar(folder / "shard.tar", {"1.jpg": b"photo", "1.txt": b"a dog", "2.jpg": more, "2.json": more})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 7000 - cut] + more)
    holds(path)
