"""Files of captions and references: every form, what is refused, and which images are the same."""

import json
from pathlib import Path

import pytest

from model.errors import DataError
from training.scoring.files import References, matched, read_captions, read_references, write_captions

CAPTIONS = {"a.jpg": "a dog, running", "b.jpg": "two \u201cmen\u201d\u2028here", "c.jpg": ""}
COCO_NAMES = ("COCO_val2014_000000000042.jpg", "val2017/000000000042.jpg", "000000000042.jpg", "42")


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv"])
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    write_captions(tmp_path / f"captions{suffix}", CAPTIONS)
    assert read_captions(tmp_path / f"captions{suffix}") == CAPTIONS


def test_coco_s_names_are_written_as_coco_s_ids(tmp_path: Path) -> None:
    write_captions(tmp_path / "c.json", {"val2017/000000000139.jpg": "a room", "val2017/000000000285.jpg": "a bear"})
    assert json.loads((tmp_path / "c.json").read_text()) == [
        {"image_id": 139, "caption": "a room"},
        {"image_id": 285, "caption": "a bear"},
    ]


def test_a_name_that_says_no_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ends in \.json, \.jsonl or \.csv"):
        write_captions(tmp_path / "captions.txt", CAPTIONS)


@pytest.mark.parametrize(
    "text",
    [
        '[{"image_id": 1, "caption": "a dog"}, {"image_id": 2, "caption": "a cat"}]',
        '{"image_id": 1, "caption": "a dog"}\n\n{"image_id": 2, "caption": "a cat"}\n',
        '{"file": "1", "captions": [{"text": "a dog", "probability": 0.1}, {"text": "a"}], "classes": []}\n'
        '{"file": "2", "captions": [{"text": "a cat"}], "classes": []}\n',
        "\ufeffimage,caption\r\n1,a dog\r\n2,a cat\r\n",
        'caption;image_id\n"a dog";1\n"a cat";2\n',
        "name\ttext\n1\ta dog\n2\ta cat\n",
    ],
)
def test_a_captions_file_is_known_by_its_content(tmp_path: Path, text: str) -> None:
    assert read_captions(written(tmp_path / "captions.any", text)) == {"1": "a dog", "2": "a cat"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found no caption"),
        ("image,caption\n", "found no caption"),
        ("[]", "found no caption"),
        ('[{"image_id": 1, "caption": "a do', "damaged or cut off"),
        ('[{"image_id": 1, "caption": null}]', "item 1: expected a JSON array"),
        ('[{"image_id": 1.5, "caption": "a dog"}]', "item 1: expected a JSON array"),
        ('[{"image_id": true, "caption": "a dog"}]', "item 1: expected a JSON array"),
        ('[["a.jpg", "a dog"]]', "item 1: expected a JSON array"),
        ('{"image": "a", "caption": "a dog"}\n{"image": "b"\n', ":2: expected a JSON array"),
        ('{"image": "a", "captions": []}', ":1: expected a JSON array"),
        ("image,caption\na.jpg,a dog\na.jpg,a cat\n", "row 3: expected one caption for each image"),
        ("image,caption\na.jpg,a dog, running\n", "row 2: expected as many fields as the header"),
        ("picture,words\na.jpg,a dog\n", "row 2: expected a JSON array"),
        ("image,caption\na.jpg\n", "row 2: expected a JSON array"),
    ],
)
def test_what_is_no_captions_file_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as refused:
        read_captions(written(tmp_path / "captions.any", text))
    assert message in str(refused.value)
    assert str(refused.value).startswith(str(tmp_path / "captions.any"))


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "captions.json").write_bytes(b"\xff\xd8\xff\xe0")
    for path in (tmp_path / "captions.json", tmp_path / "missing.json"):
        with pytest.raises(DataError, match="expected a text file in UTF-8"):
            read_captions(path)


def test_references_have_all_captions_of_an_image(tmp_path: Path) -> None:
    annotations = {
        "images": [{"id": 42, "file_name": COCO_NAMES[2]}, {"id": 7, "file_name": "other.jpg"}],
        "annotations": [{"image_id": 42, "caption": "a dog"}, {"image_id": 42, "caption": "one dog"}],
    }
    expected = {"42": ["a dog", "one dog"]}
    assert read_references(written(tmp_path / "a.json", json.dumps(annotations))).captions == expected
    assert read_references(written(tmp_path / "a.csv", "image,caption\n42,a dog\n42,one dog\n")).captions == expected
    line = json.dumps({"image": "42", "captions": ["a dog", "one dog"]})
    assert read_references(written(tmp_path / "a.jsonl", line)).captions == expected


@pytest.mark.parametrize("known", COCO_NAMES)
@pytest.mark.parametrize("asked", [*COCO_NAMES, "coco:val2017/000000000042.jpg"])
def test_an_image_of_coco_is_the_same_under_each_of_its_names(known: str, asked: str) -> None:
    truth, captions = matched(References({known: ["a dog"]}, {}), {"mine": {asked: "a cat"}}, common=False)
    assert (truth, captions) == ({known: ["a dog"]}, {"mine": {known: "a cat"}})


def test_an_image_is_the_same_in_another_directory_unless_that_could_be_two() -> None:
    one = References({"photos/a.jpg": ["a dog"]}, {})
    assert one.keys_of({"a.jpg": "x"}, Path("mine")) == {"photos/a.jpg": "x"}
    two = References({"x/a.jpg": ["a dog"], "y/a.jpg": ["a cat"]}, {})
    assert two.keys_of({"a.jpg": "x", "y/a.jpg": "z"}, Path("mine")) == {"a.jpg": "x", "y/a.jpg": "z"}
    named = References({"7": ["a dog"]}, {"other.jpg": "7", "third.jpg": "8"})
    assert named.keys_of({"photos/other.jpg": "x"}, Path("mine")) == {"7": "x"}
    with pytest.raises(DataError, match=r"two for photos/a\.jpg"):
        one.keys_of({"a.jpg": "x", "photos/a.jpg": "y"}, Path("mine"))


def test_images_that_are_in_one_and_not_in_the_other_are_named() -> None:
    truth = References({name: ["a dog"] for name in "abcdef"}, {})
    files = {"one": dict.fromkeys("abcdef", "a"), "two": dict.fromkeys("axyz", "b")}
    with pytest.raises(DataError) as refused:
        matched(truth, files, common=False)
    assert str(refused.value) == (
        "two: expected a caption for each of the 6 images with references; 3 captions are of images without references "
        "(x, y, z) and 5 images with references have no caption (b, c, d, \u2026); give --common to score only the "
        "images that all files have"
    )
    assert matched(truth, files, common=True) == ({"a": ["a dog"]}, {"one": {"a": "a"}, "two": {"a": "b"}})
    with pytest.raises(DataError, match="found none; captions are of x, y, references of a, b, c"):
        matched(truth, {"two": {"x": "a", "y": "b"}}, common=True)
