"""Records in any language: what their index says, and how their captions are parted."""

import json
from pathlib import Path

import pytest

from model.errors import DataError
from model.vocabulary import END_ID, Vocabulary
from tests.training.stages import read_folder
from training.data.captioned import CaptionedImage
from training.data.language import Language
from training.data.pipeline import split_batches
from training.data.records import INDEX, read_language, write_records
from training.scoring.references import language_of

CHINESE = Language("zh", "icu")


def in_chinese(drawn: Path) -> list[CaptionedImage]:
    """Returns drawn photos, each with a caption in Chinese."""
    return [
        CaptionedImage(image.path, image.name, ("一只棕色的狗在草地上奔跑。", "！"), image.split)
        for image in read_folder(drawn, dev_fraction=0.3)
    ]


def written(directory: Path, images: list[CaptionedImage], language: Language) -> Path:
    vocabulary = Vocabulary.build([images[0].captions[0]], tokenizer=language.tokenizer)
    assert write_records(directory, images, vocabulary, max_words=6, language=language)
    return directory


def test_records_count_and_cut_the_words_that_their_segmentation_gives(drawn: Path, tmp_path: Path) -> None:
    records = written(tmp_path / "records", in_chinese(drawn), CHINESE)
    vocabulary = Vocabulary.load(records / "vocabulary.txt")
    assert set(vocabulary.words[3:]) == {"一只", "棕色", "的", "狗", "在", "草地", "上", "奔跑"}
    for batch in split_batches(records, "dev", 4, "reading"):
        assert all(len(rows) == 1 for rows in batch.captions.to_list())
        for (ids,) in batch.tokens.to_list():
            assert vocabulary.decode(ids) == ["一只", "棕色", "的", "狗", "在", "草地"]
            assert ids[-1] == END_ID
    assert read_language(records) == language_of(records, "icu") == CHINESE


def test_records_in_english_say_what_they_said_before_there_were_languages(drawn: Path, tmp_path: Path) -> None:
    images = read_folder(drawn)
    written(tmp_path / "said", images, Language())
    assert json.loads((tmp_path / "said" / INDEX).read_text()).keys() == {"kind", "shards", "max_words"}
    assert read_language(tmp_path / "said") == Language("en", "spaces")


def test_the_same_photos_in_another_language_want_another_directory(drawn: Path, tmp_path: Path) -> None:
    images = read_folder(drawn)
    vocabulary = Vocabulary.build(["a red square"])
    write_records(tmp_path, images, vocabulary)
    with pytest.raises(DataError, match="another directory"):
        write_records(tmp_path, images, vocabulary, language=Language("en", "icu"))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("segmentation", "jieba", r"expected the segmentation spaces or icu, found 'jieba'; prepare the records again"),
        ("language", "", "expected the tag of a language"),
    ],
)
def test_an_index_that_says_something_unknown_is_named(
    drawn: Path, tmp_path: Path, field: str, value: str, message: str
) -> None:
    records = written(tmp_path / "records", in_chinese(drawn), CHINESE)
    index = json.loads((records / INDEX).read_text())
    (records / INDEX).write_text(json.dumps(index | {field: value}))
    with pytest.raises(DataError, match=rf"index\.json: {message}"):
        read_language(records)


def test_a_captioner_with_another_segmentation_is_refused(drawn: Path, tmp_path: Path) -> None:
    records = written(tmp_path / "records", in_chinese(drawn), CHINESE)
    with pytest.raises(DataError, match=r"segmentation spaces, as the captioner has, found icu; prepare .+ spaces$"):
        language_of(records, "spaces")
