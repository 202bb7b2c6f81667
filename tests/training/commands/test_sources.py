"""`prepare auto` and `prepare mix`, and what they say."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.training.data.forms import made
from training.commands.prepare import prepare
from training.data.records import read_index, read_weights
from training.data.shards import count_records


def run(*words: object) -> Result:
    return CliRunner().invoke(prepare, [str(word) for word in words], prog_name="prepare")


def drawn_karpathy(root: Path, drawn: Path) -> Path:
    """Writes Karpathy's JSON of the drawn photos: 2 of val, 3 of test, the others of train and restval."""
    splits = {0: "val", 1: "val", 2: "test", 3: "test", 4: "test", 5: "restval"}
    images: list[dict[str, Any]] = [
        {
            "filename": photo.name, "split": splits.get(index, "train"),
            "sentences": [{"raw": line} for line in photo.with_suffix(".txt").read_text().splitlines()],
        }
        for index, photo in enumerate(sorted(drawn.glob("*.jpg")))
    ]  # fmt: skip
    images[6]["sentences"] += [{"raw": None}, {"raw": "🐕"}, {"raw": "7"}]
    images += [{"filename": None, "split": "train", "sentences": []}]
    return made.written(root / "dataset_drawn.json", {"images": images, "dataset": "drawn"})


LEFT_OUT = [
    "left out: 3 captions (1 null, 1 only signs, 1 number)",
    "left out: 1 records (1 expected a photo's file name)",
]


def test_auto_says_what_it_found_and_why_and_writes_nothing_unless_told_where(drawn: Path, tmp_path: Path) -> None:
    path = drawn_karpathy(tmp_path, drawn)
    result = run("auto", path, "--photos", drawn)
    assert (result.exit_code, result.stdout.splitlines()) == (
        0, [
            "found: Karpathy's JSON: dataset_drawn.json has `images` with `sentences`", *LEFT_OUT,
            "list what is left out with --report FILE",
            "train: 19 photos, 38 captions", "dev: 2 photos, 4 captions", "test: 3 photos, 6 captions",
            "nothing written; give --out DIRECTORY to write records",
        ],
    )  # fmt: skip
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_auto_writes_records_with_the_test_split_apart_and_lists_what_is_left_out(drawn: Path, tmp_path: Path) -> None:
    path = drawn_karpathy(tmp_path, drawn)
    out = tmp_path / "records"
    report = tmp_path / "report.txt"
    result = run("auto", path, "--photos", drawn, "--out", out, "--report", report, "--min-count", 1)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1:6] == [*LEFT_OUT, "train: 19 photos", "dev: 2 photos", "test: 3 photos"]
    shards = read_index(out)
    assert [(shard.name.partition("-")[0], shard.records) for shard in shards] == [
        ("train", 19),
        ("dev", 2),
        ("test", 3),
    ]
    assert len((out / "dev.txt").read_text().split()) == 5
    lines = report.read_text(encoding="utf-8").splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"{path}, image 6"] * 3 + [f"{path}, image 24"]
    again = run("auto", path, "--photos", drawn, "--out", out, "--min-count", 1)
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"images": [{"filename": "a.jpg", "sentences": [{"raw": "a dog"}]}]}', "found Karpathy's JSON"),
        (b"image,caption\n", "it is empty"),
        (b"PK\x03\x04 and so on", "found a zip or a spreadsheet (.xlsx); unpack the one, save the other as CSV"),
        (b"", "found an empty file"),
        (b"image,caption\na.jpg,\n", "caption left out (empty): ''"),
        (b"image,caption\na.jpg,a dog\n", "found none of 1; tried "),
        (b"\xff\xd8\xff\xe0", "found a JPEG; give what holds the captions"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["csv", "auto"])
def test_a_table_that_gives_nothing_ends_with_1_and_one_line(
    kind: str, content: bytes, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "captions.csv"
    path.write_bytes(content)
    result = run(kind, path, "--out", tmp_path / "records")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"Error: {path}: expected ")
    assert told in result.stderr or (kind == "auto" and "found none of 1; tried" in result.stderr)
    assert not (tmp_path / "records").exists()


def test_the_report_is_written_where_nothing_is_usable_too(tmp_path: Path) -> None:
    path = made.text(tmp_path / "captions.csv", "image,caption", *["a.jpg,"] * 5)
    assert run("auto", path, "--report", tmp_path / "report.txt").exit_code == 1
    assert len((tmp_path / "report.txt").read_text().splitlines()) == 5


def test_words_that_are_all_too_rare_are_told_with_the_option(drawn: Path, tmp_path: Path) -> None:
    result = run("folder", drawn, "--out", tmp_path / "records", "--min-count", 100)
    assert result.exit_code == 1
    told = "expected words that occur at least 100 times in the captions of train, found none (the most frequent, "
    assert told in result.stderr
    assert "lower --min-count" in result.stderr


def test_a_source_without_photos_to_train_on_is_told(drawn: Path, tmp_path: Path) -> None:
    rows = [{"image": str(drawn / f"photo-0{index}.jpg"), "caption": "a dog"} for index in range(3)]
    path = made.text(tmp_path / "test.jsonl", *map(json.dumps, rows))
    result = run("auto", path, "--out", tmp_path / "records", "--min-count", 1)
    assert result.exit_code == 1
    assert (
        "expected photos of train, found 3 of test alone; check the names of splits, files and folders" in result.stderr
    )


def test_missing_photos_are_told_and_picked_up_later(drawn: Path, tmp_path: Path) -> None:
    rows = [{"image": f"photo-0{index}.jpg", "caption": "a dog"} for index in range(3)]
    path = made.text(tmp_path / "captions.jsonl", *map(json.dumps, rows))
    for index in (0, 1):
        (tmp_path / f"photo-0{index}.jpg").write_bytes((drawn / f"photo-0{index}.jpg").read_bytes())
    words = ("auto", path, "--out", tmp_path / "records", "--min-count", 1, "--dev-fraction", 0)
    result = run(*words)
    late = tmp_path / "photo-02.jpg"
    assert (result.exit_code, f"missing: 1 photos, such as '{late}'; say where with --photos DIR" in result.stdout) == (
        1,
        True,
    )
    late.write_bytes((drawn / "photo-02.jpg").read_bytes())
    assert run(*words).exit_code == 0
    assert count_records(read_index(tmp_path / "records"), "train") == 3


def test_mix_finds_out_forms_and_takes_weights_behind_a_star(drawn: Path, tmp_path: Path) -> None:
    karpathy = drawn_karpathy(tmp_path, drawn)
    others = tmp_path / "others"
    others.mkdir()
    for photo in sorted(drawn.glob("*.jpg"))[:5]:
        (others / photo.name).write_bytes(photo.read_bytes() + b"another file")
        (others / photo.name).with_suffix(".txt").write_text("a shape")
    out = tmp_path / "records"
    result = run(
        "mix", karpathy, f"{others}*0.5", f"third=folder:{drawn}*2", "--photos", drawn, "--min-count", 1, "--out", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert read_weights(out) == {"dataset_drawn": 1.0, "others": 0.5, "third": 2.0}
    lines = result.stdout.splitlines()
    assert "others: found: photos with texts beside them: photo-00.txt lies beside photo-00.jpg" in lines
    # The photos of val and test lie in the third source too, which trains.
    assert "photos in several splits, kept in test or else dev alone: 5" in lines
    assert [line for line in lines if line.endswith(" photos")] == [
        "train: 43 photos",
        "dev: 2 photos",
        "test: 3 photos",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["{}*-1"], ["{}*nan"], ["{}", "{}"], ["x=boxes:{}"], ["=folder:{}"], ["{}/nowhere*2"], ["x=folder:{}*"],
        ["x=folder:{}*2", "--weight", "x=2"], ["a:b={}"],
    ],
)  # fmt: skip
def test_mix_says_what_it_expected(words: list[str], drawn: Path, tmp_path: Path) -> None:
    result = run("mix", *(word.format(drawn) for word in words), "--out", tmp_path / "records")
    assert result.exit_code in (1, 2)
    assert "expected" in result.stderr
    assert not (tmp_path / "records").exists()


CHINESE = "一只棕色的狗在草地上奔跑。"


@pytest.mark.parametrize(
    ("caption", "options", "line", "words"),
    [
        (
            CHINESE, [],
            "words: parted by icu (100 % of captions are in scripts without spaces); language: und; METEOR and ptb, "
            "which are for English, will be left out", 8,
        ),
        (
            CHINESE, ["--segmentation", "spaces", "--language", "zh"],
            "words: parted by spaces (100 % of captions are in scripts without spaces); language: zh; METEOR and ptb, "
            "which are for English, will be left out", 1,
        ),
        (
            "Ein Hund läuft über die Straße.", ["--language", "de"],
            "words: parted by spaces (0 % of captions are in scripts without spaces); language: de; METEOR and ptb, "
            "which are for English, will be left out", 6,
        ),
        ("A dog runs on the grass", [], None, 6),
    ],
)  # fmt: skip
def test_how_words_are_parted_follows_from_their_script_and_is_said(
    drawn: Path, tmp_path: Path, caption: str, options: list[str], line: str | None, words: int
) -> None:
    rows = [{"image": str(photo), "caption": caption} for photo in sorted(drawn.glob("*.jpg"))[:6]]
    path = made.text(tmp_path / "captions.jsonl", *(json.dumps(row, ensure_ascii=False) for row in rows))
    looked = run("auto", path, *options)
    written = run("auto", path, *options, "--out", tmp_path / "records", "--min-count", 1)
    for result in (looked, written):
        assert result.exit_code == 0, result.output
        assert [told for told in result.stdout.splitlines() if told.startswith("words: ")] == [line] * (
            line is not None
        )
    assert f"vocabulary: {words + 3} tokens" in written.stdout


def test_what_is_no_language_is_refused(drawn: Path, tmp_path: Path) -> None:
    result = run("folder", drawn, "--out", tmp_path / "records", "--language", "german")
    assert result.exit_code == 1
    assert "expected the tag of a language, such as de, ar or zh-Hant, received 'german'" in result.stderr
