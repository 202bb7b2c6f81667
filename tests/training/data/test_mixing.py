"""Several captioned collections as one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from model.errors import DataError
from tests.training.stages import read_folder
from training.commands.prepare import prepare
from training.data.captioned import CaptionedImage
from training.data.forms.collect import read_captions
from training.data.mixing import Source, mix, source_of
from training.data.records import read_index, read_weights
from training.decoder.features import FeatureSet, raw_records, weighted
from training.scoring.captions import caption_scores


def image(name: str, split: str = "train") -> CaptionedImage:
    return CaptionedImage(Path("photos") / name, name, ("a dog",), split)


def test_photos_keep_their_split_and_are_told_apart_by_their_source() -> None:
    mixed, counts = mix(
        [Source("one", [image("a.jpg"), image("b.jpg", "dev")]), Source("two", [replace(image("c.jpg"), name="a.jpg")])]
    )
    assert set(counts.values()) == {0}
    assert [(photo.name, photo.split) for photo in mixed] == [
        ("one:a.jpg", "train"), ("one:b.jpg", "dev"), ("two:a.jpg", "train"),
    ]  # fmt: skip
    assert [source_of(photo.name) for photo in mixed] == ["one", "one", "two"]
    assert source_of("alone.jpg") == ""


@pytest.mark.parametrize(
    ("sources", "told"),
    [
        ([Source("one", [image("a.jpg")]), Source("one", [])], "each once, received 'one'"),
        ([Source("a:b", [])], "without a colon"),
        ([Source("", [])], "without a colon"),
        ([Source("one", [], -0.5)], "a weight of at least 0, received -0.5"),
        ([Source("one", [], float("nan"))], "a weight of at least 0"),
    ],
)
def test_sources_that_cannot_be_mixed_are_told(sources: list[Source], told: str) -> None:
    with pytest.raises(DataError, match=told):
        mix(sources)


def test_a_photo_of_two_sources_is_in_the_split_that_is_held_out_most() -> None:
    sources = [
        Source("one", [image("a.jpg"), image("b.jpg"), image("c.jpg", "dev")]),
        Source("two", [image("a.jpg", "dev"), image("./b.jpg"), image("x/../c.jpg", "test")]),
    ]
    mixed, counts = mix(sources)
    assert [(photo.name, photo.split) for photo in mixed] == [
        ("one:b.jpg", "train"), ("two:a.jpg", "dev"), ("two:./b.jpg", "train"), ("two:x/../c.jpg", "test"),
    ]  # fmt: skip
    assert counts["photos in several splits, kept in test or else dev alone"] == 2


def folder_with_tsv(root: Path, drawn: Path, lines: list[str], dev: list[str] | None = None) -> Path:
    (root / "images").mkdir(parents=True)
    for photo in sorted(drawn.glob("*.jpg"))[:6]:
        (root / "images" / photo.name).write_bytes(photo.read_bytes() + b"another file")
    (root / "captions.tsv").write_text("".join(f"{line}\n" for line in lines))
    if dev is not None:
        (root / "dev.txt").write_text("\n".join(dev))
    return root


LINES = [f"photo-0{index}.jpg\ta drawn thing\nphoto-0{index}.jpg\tthe second sentence" for index in range(6)]


def test_a_table_of_captions_has_the_split_of_its_list(drawn: Path, tmp_path: Path) -> None:
    found = read_captions(folder_with_tsv(tmp_path / "a", drawn, LINES, ["photo-04.jpg"])).images
    assert [(photo.name, photo.split, len(photo.captions)) for photo in found] == [
        (f"photo-0{index}.jpg", "dev" if index == 4 else "train", 2) for index in range(6)
    ]
    without = read_captions(folder_with_tsv(tmp_path / "b", drawn, LINES), dev_fraction=0).images
    assert {photo.split for photo in without} == {"train"}


@pytest.mark.parametrize(
    ("lines", "dev", "told"),
    [
        (["photo-00.jpg a caption"], None, r"expected a table .*; found captions\.tsv, images;"),
        (["photo-00.jpg\t "], None, r"captions\.tsv, line 1: caption left out \(empty\)"),
        (["\ta caption", *LINES[:0]], ["photo-99.jpg"], r"expected a table"),
    ],
)
def test_a_table_that_is_none_is_told(
    drawn: Path, tmp_path: Path, lines: list[str], dev: list[str] | None, told: str
) -> None:
    with pytest.raises(DataError, match=told):
        read_captions(folder_with_tsv(tmp_path / "a", drawn, lines, dev), "csv")


def test_a_name_of_dev_without_captions_is_told(drawn: Path, tmp_path: Path) -> None:
    collected = read_captions(folder_with_tsv(tmp_path / "a", drawn, LINES, ["photo-04.jpg", "photo-99.jpg"]))
    assert collected.report.lines == [
        f"{tmp_path / 'a' / 'dev.txt'}: record left out (listed without captions): 'photo-99.jpg'"
    ]


def test_prepare_mix_writes_one_vocabulary_and_keeps_weights_and_splits(drawn: Path, tmp_path: Path) -> None:
    other = folder_with_tsv(tmp_path / "other", drawn, LINES, ["photo-01.jpg"])
    words = [
        "mix", f"drawn=folder:{drawn}", f"other=tsv:{other}", "--weight", "other=0.5", "--dev-fraction", "0.3",
        "--min-count", "1", "--out", str(tmp_path / "records"),
    ]  # fmt: skip
    result = CliRunner().invoke(prepare, words)
    assert result.exit_code == 0, result.output
    assert read_weights(tmp_path / "records") == {"drawn": 1.0, "other": 0.5}
    names = {
        split: [record.name.numpy().decode() for record in raw_records(tmp_path / "records", split)]
        for split in ("train", "dev")
    }
    assert "other:photo-01.jpg" in names["dev"]
    assert sum(name.startswith("other:") for name in names["train"]) == 5
    expected = {f"drawn:{photo.name}" for photo in read_folder(drawn, dev_fraction=0.3) if photo.split == "dev"}
    assert {name for name in names["dev"] if name.startswith("drawn:")} == expected
    assert {"sentence", "circle"} <= set((tmp_path / "records" / "vocabulary.txt").read_text().split())
    assert sum(shard.records for shard in read_index(tmp_path / "records")) == 30


@pytest.mark.parametrize(
    "words",
    [
        ["drawn"], ["drawn=folder"], ["drawn=boxes:{}"], ["drawn=folder:/not/there"], ["=folder:{}"],
        ["drawn=folder:{}", "--weight", "drawn"], ["drawn=folder:{}", "--weight", "drawn=-1"],
        ["drawn=folder:{}", "--weight", "drawn=much"], ["drawn=folder:{}", "--weight", "other=1"],
    ],
)  # fmt: skip
def test_prepare_mix_says_what_it_expected(drawn: Path, tmp_path: Path, words: list[str]) -> None:
    given = [word.format(drawn) for word in words]
    result = CliRunner().invoke(prepare, ["mix", *given, "--out", str(tmp_path / "records")])
    assert result.exit_code in (1, 2)
    assert "expected" in result.output
    assert not (tmp_path / "records").exists()


def features(names: list[str]) -> FeatureSet:
    rows = np.repeat(np.arange(len(names)), 2)
    return FeatureSet(
        np.zeros((len(names), 1, 2), np.float32), names, [["a"]] * len(names), rows, [[int(i)] for i in rows]
    )


def test_captions_weigh_what_their_source_does_and_those_of_weight_0_are_left_out() -> None:
    split, weights = weighted(features(["a:1", "b:1", "c:1"]), {"a": 2.0, "b": 3.0}, {"b": 0.0})
    assert (split.captions, split.rows.tolist(), weights.tolist()) == ([[0], [0], [2], [2]], [0, 0, 2, 2], [2, 2, 1, 1])
    assert len(split.names) == 3
    _, alone = weighted(features(["1"]), {}, {})
    assert alone.tolist() == [1, 1]
    with pytest.raises(DataError, match="weight of d: expected one of the sources a, b"):
        weighted(features(["a:1", "b:1"]), {}, {"d": 1.0})


def test_cider_of_several_sources_is_the_mean_of_theirs() -> None:
    references = {"a:1": ["a red dog runs fast"], "a:2": ["a cat sits still"], "b:1": ["two men eat"], "b:2": ["a bus"]}
    captions = {"a:1": "a red dog runs fast", "a:2": "a cat", "b:1": "two men", "b:2": "a red bus"}
    found = caption_scores(references, captions, tokenizer="showtell")
    apart = {
        source: caption_scores(
            {name: references[name] for name in references if name.startswith(source)},
            {name: captions[name] for name in references if name.startswith(source)},
            tokenizer="showtell",
        )["CIDEr"]
        for source in ("a", "b")
    }
    assert (found["CIDEr a"], found["CIDEr b"]) == (apart["a"], apart["b"])
    assert found["CIDEr"] == pytest.approx((apart["a"] + apart["b"]) / 2, abs=0.01)
    assert (found["distinct captions"], found["distinct captions a"], found["distinct captions b"]) == (4, 2, 2)
    alone = {name.partition(":")[2] + name[0]: texts for name, texts in references.items()}
    same = {name.partition(":")[2] + name[0]: text for name, text in captions.items()}
    assert not any(" a" in name for name in caption_scores(alone, same, tokenizer="showtell"))
